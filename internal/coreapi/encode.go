package coreapi

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/plainjson"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The answers of the hot path are appended by hand: a receipt costs a tenth of
// what reflection takes. A test holds them to what encoding/json writes.

func appendReceipt(b []byte, r *wallet.Receipt) []byte {
	b = append(b, `{"transactionId":"`...)
	b = appendUUID(b, r.TransactionID)
	b = append(b, `","operation":"`...)
	b = append(b, r.Operation...)
	if r.EscrowID != uuid.Nil {
		b = append(b, `","escrowId":"`...)
		b = appendUUID(b, r.EscrowID)
	}
	b = append(b, `","amount":`...)
	b = strconv.AppendInt(b, r.Amount, 10)
	b = append(b, `,"timestamp":"`...)
	b = appendTime(b, r.Timestamp)
	b = append(b, `","balances":[`...)
	for i := range r.Balances {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendBalance(b, &r.Balances[i])
	}
	return append(b, `]}`...)
}

// appendBalance writes a balance. Account ids need no escaping: their alphabet
// has nothing to escape.
func appendBalance(b []byte, v *bus.Balance) []byte {
	at := v.UpdatedAt
	if at.IsZero() {
		at = time.UnixMilli(0)
	}
	b = append(b, `{"accountId":"`...)
	b = append(b, v.Account...)
	if v.IsModel() {
		b = append(b, `","accountType":"model","earnedBalance":`...)
		b = strconv.AppendInt(b, v.Earned, 10)
	} else {
		b = append(b, `","accountType":"user","availableBalance":`...)
		b = strconv.AppendInt(b, v.Available, 10)
		b = append(b, `,"escrowBalance":`...)
		b = strconv.AppendInt(b, v.Escrow, 10)
	}
	b = append(b, `,"currency":"points","seq":`...)
	b = strconv.AppendInt(b, v.Seq, 10)
	b = append(b, `,"lastUpdated":"`...)
	b = appendTime(b, at)
	return append(b, `"}`...)
}

// appendEvents writes a page of events; each event is JSON already.
func appendEvents(b []byte, events []wallet.AccountEvent, last int64) []byte {
	b = append(b, `{"events":[`...)
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		e := &events[i]
		b = append(b, `{"account":"`...)
		b = append(b, e.Account...)
		b = append(b, `","seq":`...)
		b = strconv.AppendInt(b, e.Seq, 10)
		b = append(b, `,"event":`...)
		b = append(b, e.Event...)
		b = append(b, '}')
	}
	b = append(b, `],"last":`...)
	b = strconv.AppendInt(b, last, 10)
	return append(b, '}')
}

// appendEntries writes a page of entries.
func appendEntries(b []byte, entries []wallet.Entry, next string) (_ []byte, err error) {
	b = append(b, `{"entries":`...)
	if b, err = appendEntryList(b, entries); err != nil {
		return nil, err
	}
	if next != "" { // a number
		b = append(b, `,"next":"`...)
		b = append(b, next...)
		b = append(b, '"')
	}
	return append(b, '}'), nil
}

func appendEntryList(b []byte, entries []wallet.Entry) (_ []byte, err error) {
	b = append(b, '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendEntry(b, &entries[i]); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendEntry(b []byte, e *wallet.Entry) ([]byte, error) {
	return appendRecord(b, shapeEntry(e), e.Metadata, `,"hash":"`)
}

func appendTransaction(b []byte, t *wallet.Transaction) ([]byte, error) {
	b, err := appendRecord(b, shapeTransaction(t), t.Metadata, `,"timestamp":"`)
	if err != nil {
		return nil, err
	}
	if b, err = appendEntryList(b[:len(b)-len(`[]}`)], t.Entries); err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// appendRecord writes a shape and, in front of the last member that begins with before, its metadata
// as it came: encoding/json would take the blanks out, and a repeat must equal it to the byte.
func appendRecord(b []byte, shape any, metadata []byte, before string) ([]byte, error) {
	record, err := plainjson.Marshal(shape)
	if err != nil || len(metadata) == 0 {
		return append(b, record...), err
	}
	i := bytes.LastIndex(record, []byte(before)) // only what needs no escaping follows
	b = append(b, record[:i]...)
	b = append(b, `,"metadata":`...)
	b = append(b, metadata...)
	return append(b, record[i:]...), nil
}

func appendTime(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, bus.TimeFormat) }

func appendUUID(b []byte, id uuid.UUID) []byte {
	text, _ := id.MarshalText() // never fails
	return append(b, text...)
}

// Header values that never change are shared.
var (
	headerJSON    = []string{"application/json"}
	headerNoStore = []string{"no-store"}
	headerNoSniff = []string{"nosniff"}
	headerTrue    = []string{"true"}
)

// writeBody ends the body with a newline, which a terminal likes.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	body = append(body, '\n')
	h := w.Header()
	h["Content-Type"] = headerJSON
	h["Cache-Control"] = headerNoStore
	h["X-Content-Type-Options"] = headerNoSniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

// EntryJSON is an entry as the API lists it.
func EntryJSON(e *wallet.Entry) ([]byte, error) { return appendEntry(nil, e) }
