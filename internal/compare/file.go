package compare

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// File compares the records of a file with the ledger. The file is CSV with a header as `core
// export` writes it, or JSON Lines. A line of JSON is an entry of an export, an event, an item of
// GET …/events or of a WebSocket, the fields of a stream entry, or a receipt.
func File(ctx context.Context, ledger Ledger, r io.Reader, o Options) (*Report, error) {
	started := time.Now()
	c := newComparison(ctx, ledger, o)
	buffered := bufio.NewReader(r)
	first, err := firstByte(buffered)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file must have at least one record")
	case err != nil:
		return nil, err
	case first == '{':
		err = c.compareJSON(buffered)
	default:
		err = c.compareCSV(buffered)
	}
	if err != nil {
		return nil, err
	}
	err = c.compareClaims()
	if err != nil {
		return nil, err
	}
	return c.finishReport(started), nil
}

// firstByte returns the first byte that is not white space, and leaves it in the reader.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if !bytes.ContainsRune([]byte(" \t\r\n"), rune(b)) {
			return b, r.UnreadByte()
		}
	}
}

// fileRecord has the fields of all kinds of records.
type fileRecord struct {
	TransactionID string     `json:"transactionId"`
	EntryID       string     `json:"entryId"`
	EventID       string     `json:"eventId"`
	EventType     string     `json:"eventType"`
	Account       string     `json:"account"`
	AccountID     string     `json:"accountId"`
	AccountType   string     `json:"accountType"`
	Seq           fileNumber `json:"seq"`
	Chain         string     `json:"chain"`
	Hash          string     `json:"hash"`
	Amount        fileNumber `json:"amount"`
	Operation     string     `json:"operation"`
	BalanceState  string     `json:"balanceState"`
	Timestamp     string     `json:"timestamp"`

	// The fields of an item with an event, and of a stream entry.
	Op    string          `json:"op"`
	ID    string          `json:"id"`
	Type  string          `json:"type"`
	Event json.RawMessage `json:"event"`
	Data  string          `json:"data"`
}

// fileNumber is a number, or a string with a number as in a stream entry.
type fileNumber int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *fileNumber) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		return nil
	}
	parsed, err := strconv.ParseInt(text, 10, 64)
	*n = fileNumber(parsed)
	return err
}

// compareJSON compares JSON Lines.
func (c *comparison) compareJSON(r io.Reader) error {
	dec := json.NewDecoder(r)
	for n := 1; ; n++ {
		var record fileRecord
		err := dec.Decode(&record)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("record %d must be a JSON object of an export, an event or a receipt: %w", n, err)
		}
		err = c.addRecord(&record, n)
		if err != nil {
			return err
		}
	}
}

// compareCSV compares rows of an export. The columns are found by their names in the header.
func (c *comparison) compareCSV(r io.Reader) error {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	header = slices.Clone(header)
	if !slices.Contains(header, "transactionId") {
		return errors.New("the file must be CSV with a header that has transactionId, or JSON Lines")
	}

	for n := 1; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		record, err := parseRow(header, row)
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		err = c.addRecord(record, n)
		if err != nil {
			return err
		}
	}
}

func parseRow(header, row []string) (*fileRecord, error) {
	record := &fileRecord{}
	texts := map[string]*string{
		"transactionId": &record.TransactionID,
		"entryId":       &record.EntryID,
		"account":       &record.Account,
		"accountId":     &record.AccountID,
		"accountType":   &record.AccountType,
		"balanceState":  &record.BalanceState,
		"operation":     &record.Operation,
		"hash":          &record.Hash,
		"timestamp":     &record.Timestamp,
	}
	numbers := map[string]*fileNumber{
		"seq":    &record.Seq,
		"amount": &record.Amount,
	}
	for i, name := range header {
		if text, ok := texts[name]; ok {
			*text = row[i]
		}
		number, ok := numbers[name]
		if !ok {
			continue
		}
		err := number.UnmarshalJSON([]byte(row[i]))
		if err != nil {
			return nil, fmt.Errorf("%s must be a whole number, got %.40q", name, row[i])
		}
	}
	return record, nil
}

// addRecord adds one record of the file.
func (c *comparison) addRecord(record *fileRecord, n int) error {
	isFrame := record.Op != "" && record.Op != "event"
	if isFrame || record.Type == bus.TypeHistoryChanged || record.EventType == bus.TypeHistoryChanged {
		c.report.Skipped++
		return nil
	}
	cl, err := record.toClaim()
	cl.source = fmt.Sprintf("record %d", n)
	if err != nil {
		return c.addUnreadable(&cl, err)
	}
	return c.addClaim(cl)
}

// toClaim returns what the record claims.
func (r *fileRecord) toClaim() (claim, error) {
	cl := claim{
		account:   r.findAccount(),
		seq:       int64(r.Seq),
		eventID:   r.EventID,
		eventType: r.findType(),
		amount:    int64(r.Amount),
		timestamp: r.Timestamp,
	}
	err := r.readEvent(&cl)
	if err != nil {
		return cl, err
	}
	chain := r.Chain
	if r.EntryID != "" && len(r.Hash) == 64 {
		chain = r.Hash[:16]
	}
	if chain != "" {
		cl.chain, err = bus.ParseChain(chain)
		if err != nil {
			return cl, err
		}
		cl.hasChain = true
	}
	err = cl.parseTransactionID(r.TransactionID)
	return cl, err
}

// readEvent takes what the record does not have from the event in it.
func (r *fileRecord) readEvent(cl *claim) error {
	raw := []byte(r.Event)
	if len(raw) == 0 {
		raw = []byte(r.Data)
	}
	if len(raw) == 0 {
		return nil
	}
	var event fileRecord
	err := json.Unmarshal(raw, &event)
	if err != nil {
		return fmt.Errorf("the event in the record must be a JSON object: %w", err)
	}
	r.TransactionID = event.TransactionID
	cl.eventID = event.EventID
	cl.eventType = event.EventType
	cl.timestamp = event.Timestamp
	if cl.amount == 0 {
		cl.amount = int64(event.Amount)
	}
	return nil
}

// findAccount returns the account with its type, or "" if the record does not tell it.
func (r *fileRecord) findAccount() string {
	switch {
	case r.Account != "":
		return r.Account
	case strings.Contains(r.AccountID, ":"):
		return r.AccountID
	case r.AccountType != "" && r.AccountID != "":
		return r.AccountType + ":" + r.AccountID
	case r.AccountID != "" && r.BalanceState == "earned":
		return "model:" + r.AccountID
	case r.AccountID != "" && r.EntryID != "":
		return "user:" + r.AccountID
	}
	return ""
}

// findType returns the event type, or the operation of an entry or a receipt.
func (r *fileRecord) findType() string {
	switch {
	case r.EventType != "":
		return r.EventType
	case r.Type != "":
		return r.Type
	}
	return r.Operation
}
