package wallet

import (
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// journalCursor is the place of a reader in the journal. It names the last transaction that the
// reader has seen, so that a reader notices when the ledger has another transaction at this place.
// The zero value is the start of the journal.
type journalCursor struct {
	position    int64     // of the row; 0: the start
	place       int       // of the transaction in the row
	given       int       // deliveries of this transaction that the reader has, in their order
	transaction uuid.UUID // the transaction at this place
}

// allGiven is more than the number of deliveries of any transaction.
const allGiven = maxChains

func (c journalCursor) isStart() bool { return c.position == 0 }

// startCursor is the text of the zero journalCursor.
const startCursor = "0"

// String returns the text from which parseJournalCursor makes the same cursor.
func (c journalCursor) String() string {
	if c.isStart() {
		return startCursor
	}

	return strings.Join([]string{
		strconv.FormatInt(c.position, 10),
		strconv.Itoa(c.place),
		strconv.Itoa(c.given),
		c.transaction.String(),
	}, ".")
}

var errJournalCursor = invalidField("/cursor", "cursor must be the next cursor of an earlier page")

func parseJournalCursor(text string) (journalCursor, error) {
	if text == startCursor {
		return journalCursor{}, nil
	}

	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return journalCursor{}, errJournalCursor
	}

	position, positionErr := strconv.ParseInt(parts[0], 10, 64)
	place, placeErr := strconv.ParseUint(parts[1], 10, 10)
	given, givenErr := strconv.ParseUint(parts[2], 10, 8)
	transaction, idErr := uuid.Parse(parts[3])
	err := errors.Join(positionErr, placeErr, givenErr, idErr)
	c := journalCursor{
		position:    position,
		place:       int(place), //nolint:gosec // has at most 10 bits
		given:       int(given), //nolint:gosec // has at most 8 bits
		transaction: transaction,
	}
	if err != nil || position < 1 || c.String() != text {
		return journalCursor{}, errJournalCursor
	}

	return c, nil
}
