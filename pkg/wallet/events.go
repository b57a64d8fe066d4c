package wallet

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Event types, as published to the product's users.
const (
	EventEscrowHeld           = "wallet.escrow_held"
	EventEscrowSettled        = "wallet.escrow_settled"
	EventEscrowRefunded       = "wallet.escrow_refunded"
	EventEscrowPartialSettled = "wallet.escrow_partial_settled"
	EventBalanceUpdated       = "wallet.balance_updated"
)

// leg is one change of one balance. A transaction's legs follow from its
// operation, amounts and parties; its stored entries say the same.
type leg struct {
	state  BalanceState
	amount int64 // signed
}

// legsOf returns a party's legs in order of seq.
func legsOf(tx *Transaction, p *Party) []leg {
	if p.Account.IsModel() {
		switch tx.Operation {
		case OpDebit:
			return []leg{{StateEarned, -tx.Amount}}
		case OpPartialSettle:
			return []leg{{StateEarned, tx.SettleAmount}}
		default:
			return []leg{{StateEarned, tx.Amount}}
		}
	}
	switch tx.Operation {
	case OpCredit:
		return []leg{{StateAvailable, tx.Amount}}
	case OpDebit:
		return []leg{{StateAvailable, -tx.Amount}}
	case OpHold:
		return []leg{{StateAvailable, -tx.Amount}, {StateEscrow, tx.Amount}}
	case OpSettle:
		return []leg{{StateEscrow, -tx.Amount}}
	case OpRefund:
		return []leg{{StateEscrow, -tx.Amount}, {StateAvailable, tx.Amount}}
	default:
		return []leg{{StateEscrow, -tx.Amount}, {StateAvailable, tx.RefundAmount}}
	}
}

// updatesOf derives a transaction's events: the deliveries of each party, the
// user's first. The same transaction always gives the same ids and the same
// bytes; nothing of an event is stored.
func updatesOf(tx *Transaction) []bus.AccountUpdate {
	w := eventWriter{tx: tx, id: tx.ID.String(), timestamp: tx.CreatedAt.UTC().Format(bus.TimeFormat), metadata: oneLine(tx.Metadata)}
	out := make([]bus.AccountUpdate, len(tx.Parties))
	for i := range tx.Parties {
		out[i] = w.group(i)
	}
	return out
}

// eventWriter builds the events of one transaction.
type eventWriter struct {
	tx        *Transaction
	id        string
	timestamp string
	metadata  []byte
	place     int    // of the next leg's entry
	buf       []byte // the payloads, one behind the other, while they fit
}

func (w *eventWriter) group(party int) bus.AccountUpdate {
	tx, p := w.tx, &w.tx.Parties[party]
	legs := legsOf(tx, p)
	g := bus.AccountUpdate{
		Key:        w.id + ":" + string(p.Account.Type()),
		Account:    string(p.Account),
		Deliveries: make([]bus.Delivery, 0, len(legs)+1),
		Balance: bus.Balance{
			Account: string(p.Account), Available: p.Available, Escrow: p.Escrow, Earned: p.Earned,
			Seq: p.Seq, UpdatedAt: tx.CreatedAt,
		},
	}
	seq := p.Seq - int64(len(legs))
	if tx.Operation != OpCredit && tx.Operation != OpDebit {
		g.Deliveries = append(g.Deliveries, w.own(p, party, seq))
	}
	for _, l := range legs {
		seq++
		g.Deliveries = append(g.Deliveries, w.balanceUpdated(p, l, seq))
		w.place++
	}
	return g
}

// own is the escrow operation's event as it is delivered to one party.
func (w *eventWriter) own(p *Party, party int, seq int64) bus.Delivery {
	tx := w.tx
	d := bus.Delivery{
		ID: derivedID(tx.ID, "event", -1).String(), Account: string(p.Account), Seq: seq,
		Amount: tx.Amount, Reason: tx.Reason, SecondParty: party > 0, TraceParent: tx.Trace,
	}
	user := &tx.Parties[0]
	var model *Party
	if len(tx.Parties) > 1 {
		model = &tx.Parties[1]
	}
	build := func(userView, modelView bool) []byte {
		b := w.begin(d.ID, d.Type)
		b = appendField(b, "userId", string(user.Account))
		if model != nil {
			b = appendField(b, "modelId", string(model.Account))
		}
		b = appendField(b, "escrowId", tx.EscrowID.String())
		if tx.Operation == OpPartialSettle {
			b = appendNumber(b, "refundAmount", tx.RefundAmount)
			b = appendNumber(b, "settleAmount", tx.SettleAmount)
		} else {
			b = appendNumber(b, "amount", tx.Amount)
		}
		b = appendField(b, "queueItemId", tx.QueueItemID)
		if tx.Operation == OpHold {
			b = appendField(b, "featureType", tx.FeatureType)
		}
		if userView && tx.Operation != OpSettle {
			b = appendNumber(b, "userAvailableBalance", user.Available)
			b = appendNumber(b, "userEscrowBalance", user.Escrow)
		}
		if modelView && model != nil {
			b = appendNumber(b, "modelEarnedBalance", model.Earned)
		}
		return w.end(b)
	}
	switch tx.Operation {
	case OpHold:
		d.Type, d.Feature = EventEscrowHeld, tx.FeatureType
	case OpSettle:
		d.Type = EventEscrowSettled
	case OpRefund:
		d.Type = EventEscrowRefunded
	default:
		d.Type = EventEscrowPartialSettled
	}
	d.Data = build(true, true)
	switch {
	case tx.Operation == OpSettle && party == 0:
		d.View = build(true, false)
	case tx.Operation == OpPartialSettle:
		d.View = build(party == 0, party == 1)
	}
	return d
}

func (w *eventWriter) balanceUpdated(p *Party, l leg, seq int64) bus.Delivery {
	tx := w.tx
	d := bus.Delivery{
		ID: derivedID(tx.ID, "event:", w.place).String(), Type: EventBalanceUpdated,
		Account: string(p.Account), Seq: seq, Amount: max(l.amount, -l.amount), Reason: tx.Reason,
		TraceParent: tx.Trace,
	}
	after := p.Earned
	switch l.state {
	case StateAvailable:
		after = p.Available
	case StateEscrow:
		after = p.Escrow
	}
	b := w.begin(d.ID, d.Type)
	b = appendField(b, "accountId", string(p.Account))
	b = appendField(b, "accountType", string(p.Account.Type()))
	b = appendField(b, "balanceState", string(l.state))
	b = appendNumber(b, "balanceBefore", after-l.amount)
	b = appendNumber(b, "balanceAfter", after)
	b = appendNumber(b, "changeAmount", l.amount)
	b = appendField(b, "ledgerEntryId", entryID(tx.ID, w.place).String())
	d.Data = w.end(b)
	return d
}

// entryID names an entry: UUIDv5 of its transaction and its place in it.
func entryID(tx uuid.UUID, place int) uuid.UUID {
	return derivedID(tx, "entry:", place)
}

func (w *eventWriter) begin(id, eventType string) []byte {
	if size := 640 + len(w.metadata); cap(w.buf)-len(w.buf) < size {
		w.buf = make([]byte, 0, max(size, 2048)) // a hold has three events of half a kilobyte
	}
	b := w.buf[len(w.buf):]
	b = append(b, `{"eventId":"`...)
	b = append(b, id...)
	b = append(b, `","eventType":"`...)
	b = append(b, eventType...)
	b = append(b, `","timestamp":"`...)
	b = append(b, w.timestamp...)
	b = append(b, `","transactionId":"`...)
	b = append(b, w.id...)
	b = append(b, `","reason":"`...)
	b = append(b, w.tx.Reason...)
	return append(b, `","source":"wallet-core","version":"1.0"`...)
}

func (w *eventWriter) end(b []byte) []byte {
	if w.tx.CorrelationID != "" {
		b = appendField(b, "correlationId", w.tx.CorrelationID)
	}
	if w.metadata != nil {
		b = append(b, `,"metadata":`...)
		b = append(b, w.metadata...)
	}
	b = append(b, '}')
	if cap(b) == cap(w.buf)-len(w.buf) { // it did not outgrow the buffer
		w.buf = w.buf[:len(w.buf)+len(b)]
	}
	return b[:len(b):len(b)]
}

// oneLine is metadata without line breaks, which part the frames of a message and the fields of a server-sent event.
func oneLine(metadata json.RawMessage) []byte {
	if bytes.IndexByte(metadata, '\n') < 0 && bytes.IndexByte(metadata, '\r') < 0 {
		return metadata
	}
	var b bytes.Buffer
	_ = json.Compact(&b, metadata) // it was checked when it came
	return b.Bytes()
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendInt(b, n, 10)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

// appendString writes a JSON string. Plain ASCII, which nearly all are, is copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
