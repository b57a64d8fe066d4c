package wallet

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// EventQuery selects a page of the events of all accounts.
type EventQuery struct {
	// Cursor is EventPage.Next of the page before. Empty selects the first page.
	Cursor string
	// From is the time at which the first page begins. The page begins up to a minute earlier, since
	// the clocks of cores differ. Zero selects the first event. It is not used with a Cursor.
	From  time.Time
	Types []string // only events of these types. Empty selects all types.
	Limit int      // the maximum number of events, from 1 to 1000. 0 means 100.
}

// StreamEvent is an event for one account, with the fields of its entry in the Redis stream.
type StreamEvent struct {
	bus.Delivery
	Key string // the deduplication key of its transaction and account
}

// EventPage is a page of the events of all accounts.
type EventPage struct {
	Events []StreamEvent
	// Next is the cursor of the following page. It is never empty, and it stays valid.
	Next string
	// More reports that there may be a further page. If it is false, the reader has all events that
	// were committed before the call, and Next selects the ones that were committed later.
	More bool
}

// maxJournalScan bounds the number of transactions that one page of events with Types searches.
const maxJournalScan = 2000

// AllEvents returns a page of the events of all accounts. The order keeps that of each account's seq,
// and each event is in exactly one page. A page ends before an event that a running transaction may
// still precede, so a reader who follows Next gets every event, also while several cores write. A page
// waits for a short time for this transaction, and may have no events.
//
// If Types is not empty, a page searches only a bounded number of transactions. So it may have fewer
// events than the limit, or none, although there are more.
//
// If the ledger does not have the transaction of the cursor, because it went back to an earlier
// time, the error is a *HistoryChangedError.
func (l *Ledger) AllEvents(ctx context.Context, q EventQuery) (page EventPage, err error) {
	err = l.confirmRead(ctx, func() (newest time.Time, _ error) {
		page, newest, err = l.readAllEvents(ctx, q)
		return newest, err
	})
	return page, err
}

func (l *Ledger) readAllEvents(ctx context.Context, q EventQuery) (EventPage, time.Time, error) {
	limit, err := Page{Limit: q.Limit}.pageLimit()
	if err != nil {
		return EventPage{}, time.Time{}, err
	}

	cursor, err := l.startReading(ctx, q)
	if err != nil {
		return EventPage{}, time.Time{}, err
	}

	scan := limit + 1 // the transaction of the cursor and limit further ones
	if len(q.Types) > 0 {
		scan = maxJournalScan
	}

	rows, isCut, err := l.readJournal(ctx, cursor, scan)
	if err != nil {
		return EventPage{}, time.Time{}, err
	}

	places := listPlaces(rows, cursor, scan)
	transactions, err := l.reads.listTransactions(ctx, transactionIDs(places))
	if err != nil {
		return EventPage{}, time.Time{}, l.queryError("read events", err)
	}

	var newest time.Time
	for i := range transactions {
		newest = latest(newest, transactions[i].CreatedAt)
	}

	p := pageBuilder{
		types: q.Types,
		limit: limit,
		next:  cursor,
	}
	isFull := p.addTransactions(places, transactions)
	page := EventPage{
		Events: p.events,
		Next:   p.next.String(),
		More:   isFull || isCut || len(places) == scan,
	}
	return page, newest, nil
}

// startReading returns the cursor of the query.
func (l *Ledger) startReading(ctx context.Context, q EventQuery) (journalCursor, error) {
	switch {
	case q.Cursor != "":
		return parseJournalCursor(q.Cursor)
	case q.From.IsZero():
		return journalCursor{}, nil
	}

	cursor, err := l.findJournalTime(ctx, q.From.Add(-maxClockSkew))
	if err != nil {
		return journalCursor{}, l.queryError("find time", err)
	}

	return cursor, nil
}

// findJournalTime returns the place before the first row of a time or later. If there is none, it
// returns the place after the last row. The times of the rows rise but for the differences of the
// cores' clocks, so it is a binary search.
func (l *Ledger) findJournalTime(ctx context.Context, t time.Time) (journalCursor, error) {
	last, err := l.reads.lastJournalPosition(ctx)
	if err != nil {
		return journalCursor{}, err
	}

	low := int64(1)  // the rows before low are earlier
	high := last + 1 // the rows from high on are not
	for low < high {
		middle := low + (high-low)/2
		row, found, err := l.reads.firstInJournal(ctx, middle)
		switch {
		case err != nil:
			return journalCursor{}, err
		case found && row.position < high && idTime(row.transaction).Before(t):
			low = row.position + 1
		default:
			high = middle
		}
	}

	first, found, err := l.reads.firstInJournal(ctx, low)
	if err != nil || found {
		return first, err
	}

	return l.findJournalEnd(ctx, last)
}

// findJournalEnd returns the place after the last transaction of the row at a position.
func (l *Ledger) findJournalEnd(ctx context.Context, position int64) (journalCursor, error) {
	rows, err := l.reads.listJournal(ctx, position, 1)
	if err != nil || len(rows) == 0 {
		return journalCursor{}, err
	}

	last := len(rows[0].transactions) - 1
	return journalCursor{
		position:    rows[0].position,
		place:       last,
		given:       allGiven,
		transaction: rows[0].transactions[last],
	}, nil
}

// readJournal returns the rows from the cursor on that have count transactions after it. The first
// row is that of the cursor. isCut is set if rows are left out because others may be added before
// them.
//
// The gaps of one database say nothing about another one. So it reads again if the
// connections have changed to another database meanwhile.
func (l *Ledger) readJournal(ctx context.Context, cursor journalCursor, count int) (rows []journalRow, isCut bool, err error) {
	for {
		generation := l.store.generation()
		rows, isCut, err = l.readJournalOf(ctx, generation, cursor, count)
		if err != nil || l.store.generation() == generation {
			return rows, isCut, err
		}
	}
}

// readJournalOf is readJournal for one generation of the store.
func (l *Ledger) readJournalOf(ctx context.Context, generation uint64, cursor journalCursor, count int) (rows []journalRow, isCut bool, err error) {
	count += cursor.place
	rows, err = l.reads.listJournal(ctx, cursor.position, count)
	if err != nil {
		return nil, false, l.queryError("read journal", err)
	}

	err = l.checkHistory(ctx, cursor, rows)
	if err != nil {
		return nil, false, err
	}

	gap := findGap(rows, cursor.position)
	if gap == len(rows) {
		return rows, false, nil
	}

	last := rows[len(rows)-1].position
	isSettled, err := l.store.settleJournal(ctx, generation, last)
	if err != nil {
		return nil, false, l.queryError("read journal", err)
	}

	if !isSettled {
		return rows[:gap], true, nil
	}

	// Rows that have filled a gap meanwhile are visible now. The rows after last may have gaps again.
	rows, err = l.reads.listJournal(ctx, cursor.position, count)
	if err != nil {
		return nil, false, l.queryError("read journal", err)
	}

	err = l.checkHistory(ctx, cursor, rows)
	if err != nil {
		return nil, false, err
	}

	end := len(rows)
	for end > 0 && rows[end-1].position > last {
		end--
	}

	return rows[:end], end < len(rows), nil
}

// findGap returns the index of the first row that does not follow the row before it. The rows begin
// at a position, or at 1 if it is 0. It returns len(rows) if there is no gap.
func findGap(rows []journalRow, start int64) int {
	expected := max(start, 1)
	for i := range rows {
		if rows[i].position != expected {
			return i
		}

		expected++
	}

	return len(rows)
}

// checkHistory returns a *HistoryChangedError unless the first row has the transaction of the cursor.
func (l *Ledger) checkHistory(ctx context.Context, cursor journalCursor, rows []journalRow) error {
	if cursor.isStart() {
		return nil
	}

	if len(rows) > 0 && rows[0].position == cursor.position {
		transactions := rows[0].transactions
		if cursor.place < len(transactions) && transactions[cursor.place] == cursor.transaction {
			return nil
		}
	}

	// The ledger's new transactions are later than that of the cursor, and what both histories have
	// is earlier.
	since := idTime(cursor.transaction)
	next, err := l.findJournalTime(ctx, since.Add(-maxClockSkew))
	if err != nil {
		return l.queryError("find time", err)
	}

	return &HistoryChangedError{
		Next:  next.String(),
		Since: since,
	}
}

// listPlaces returns the places of the transactions in the rows, from that of the cursor on.
func listPlaces(rows []journalRow, cursor journalCursor, limit int) []journalCursor {
	var places []journalCursor
	for _, row := range rows {
		for i, id := range row.transactions {
			place := journalCursor{
				position:    row.position,
				place:       i,
				transaction: id,
			}

			isBefore := row.position == cursor.position && i < cursor.place
			if isBefore || len(places) == limit {
				continue
			}

			if row.position == cursor.position && i == cursor.place {
				place.given = cursor.given
			}

			places = append(places, place)
		}
	}

	return places
}

func transactionIDs(places []journalCursor) []uuid.UUID {
	ids := make([]uuid.UUID, len(places))
	for i := range places {
		ids[i] = places[i].transaction
	}

	return ids
}

// pageBuilder collects the events of a page.
type pageBuilder struct {
	types  []string
	limit  int
	events []StreamEvent
	next   journalCursor // after the last delivery that was looked at
}

// addTransactions adds the deliveries of the transactions, which are at these places. It reports
// whether deliveries are left because the page is full.
func (p *pageBuilder) addTransactions(places []journalCursor, transactions []Transaction) (isFull bool) {
	for i := range transactions {
		p.next = places[i]
		isFull = p.addDeliveries(deriveUpdates(&transactions[i]))
		if isFull {
			return true
		}
	}

	return false
}

// addDeliveries adds the deliveries of the transaction at p.next, but for the first p.next.given.
func (p *pageBuilder) addDeliveries(updates []bus.AccountUpdate) (isFull bool) {
	number := 0
	for u := range updates {
		update := &updates[u]
		for i := range update.Deliveries {
			number++
			if number <= p.next.given {
				continue
			}

			d := &update.Deliveries[i]
			if len(p.types) == 0 || slices.Contains(p.types, d.Type) {
				if len(p.events) == p.limit {
					return true
				}

				p.events = append(p.events, StreamEvent{
					Delivery: *d,
					Key:      update.Key,
				})
			}

			p.next.given = number
		}
	}

	return false
}

// ReadHistory implements bus.History with AllEvents.
func (l *Ledger) ReadHistory(ctx context.Context, q bus.HistoryQuery) (bus.HistoryPage, error) {
	page, err := l.AllEvents(ctx, EventQuery{
		Cursor: q.Cursor,
		From:   q.From,
		Limit:  q.Limit,
	})
	var changed *HistoryChangedError
	if errors.As(err, &changed) {
		return bus.HistoryPage{}, &bus.CursorChangedError{Next: changed.Next, Since: changed.Since}
	}

	if err != nil {
		return bus.HistoryPage{}, err
	}

	events := make([]bus.HistoryEvent, len(page.Events))
	for i := range page.Events {
		events[i] = bus.HistoryEvent(page.Events[i])
	}

	return bus.HistoryPage{
		Events: events,
		Next:   page.Next,
		More:   page.More,
	}, nil
}
