package wallet

import (
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The types of the published events.
const (
	EventEscrowHeld           = "wallet.escrow_held"
	EventEscrowSettled        = "wallet.escrow_settled"
	EventEscrowRefunded       = "wallet.escrow_refunded"
	EventEscrowPartialSettled = "wallet.escrow_partial_settled"
	EventBalanceUpdated       = "wallet.balance_updated"
)

// leg is one change of one balance. The legs of a transaction follow from its operation, amounts
// and parties. Its entries store the same changes.
type leg struct {
	state  BalanceState
	amount int64 // signed
}

// deriveLegs returns a party's legs in order of seq.
func deriveLegs(tx *Transaction, p *Party) []leg {
	if p.Account.IsModel() {
		return []leg{{StateEarned, modelChange(tx)}}
	}

	switch tx.Operation {
	case OpCredit:
		return []leg{
			{StateAvailable, tx.Amount},
		}
	case OpDebit:
		return []leg{
			{StateAvailable, -tx.Amount},
		}
	case OpHold:
		return []leg{
			{StateAvailable, -tx.Amount},
			{StateEscrow, tx.Amount},
		}
	case OpSettle:
		return []leg{
			{StateEscrow, -tx.Amount},
		}
	case OpRefund:
		return []leg{
			{StateEscrow, -tx.Amount},
			{StateAvailable, tx.Amount},
		}
	default:
		return []leg{
			{StateEscrow, -tx.Amount},
			{StateAvailable, tx.RefundAmount},
		}
	}
}

// modelChange returns the change of a model's earned points.
func modelChange(tx *Transaction) int64 {
	switch tx.Operation {
	case OpDebit:
		return -tx.Amount
	case OpPartialSettle:
		return tx.SettleAmount
	default:
		return tx.Amount
	}
}

// deriveUpdates returns a transaction's events, grouped by party, the user's first. Events are not
// stored: the same transaction always results in the same event ids and bytes.
func deriveUpdates(tx *Transaction) []bus.AccountUpdate {
	w := eventWriter{
		tx:            tx,
		transactionID: tx.ID.String(),
		timestamp:     tx.CreatedAt.UTC().Format(bus.TimeFormat),
		metadata:      removeLineBreaks(tx.Metadata),
	}

	updates := make([]bus.AccountUpdate, len(tx.Parties))
	for i := range tx.Parties {
		updates[i] = w.buildUpdate(i)
	}

	return updates
}

// eventWriter builds the events of one transaction.
type eventWriter struct {
	tx            *Transaction
	transactionID string
	timestamp     string
	metadata      []byte
	place         int    // Entry.Place of the next leg
	chain         int    // index in tx.chains of the next chain
	buf           []byte // holds the payloads one after the other; full buffers are replaced
}

// buildUpdate returns the events of one party. It must be called for each party in order.
func (w *eventWriter) buildUpdate(party int) bus.AccountUpdate {
	tx := w.tx
	p := &tx.Parties[party]
	legs := deriveLegs(tx, p)
	update := bus.AccountUpdate{
		Key:        w.transactionID + ":" + string(p.Account.Type()),
		Account:    string(p.Account),
		Before:     w.nextChain(),
		Deliveries: make([]bus.Delivery, 0, len(legs)+1),
		Balance:    p.toBalance(tx.CreatedAt),
	}

	seq := p.Seq - int64(len(legs))
	if tx.isEscrowOperation() {
		update.Deliveries = append(update.Deliveries, w.buildEscrowDelivery(party, seq))
	}

	for _, l := range legs {
		seq++
		update.Deliveries = append(update.Deliveries, w.buildBalanceDelivery(p, l, seq))
		w.place++
	}

	return update
}

// nextChain returns the next chain of the transaction.
func (w *eventWriter) nextChain() bus.Chain {
	chain := w.tx.chains.chainAt(w.chain)
	w.chain++
	return chain
}

// escrowEventType returns the type of an escrow operation's own event.
func escrowEventType(op Operation) string {
	switch op {
	case OpHold:
		return EventEscrowHeld
	case OpSettle:
		return EventEscrowSettled
	case OpRefund:
		return EventEscrowRefunded
	default:
		return EventEscrowPartialSettled
	}
}

// buildEscrowDelivery returns an escrow operation's own event for one party.
func (w *eventWriter) buildEscrowDelivery(party int, seq int64) bus.Delivery {
	tx := w.tx
	d := bus.Delivery{
		ID:          deriveID(tx.ID, "event", -1).String(),
		Type:        escrowEventType(tx.Operation),
		Account:     string(tx.Parties[party].Account),
		Seq:         seq,
		Chain:       w.nextChain(),
		Amount:      tx.Amount,
		Reason:      tx.Reason,
		SecondParty: party > 0,
		TraceParent: tx.Trace,
	}

	if tx.Operation == OpHold {
		d.Feature = tx.FeatureType
	}

	d.Data = w.buildEscrowPayload(d.ID, d.Type, true, true)
	switch {
	case tx.Operation == OpSettle && party == 0:
		d.View = w.buildEscrowPayload(d.ID, d.Type, true, false)
	case tx.Operation == OpPartialSettle:
		d.View = w.buildEscrowPayload(d.ID, d.Type, party == 0, party == 1)
	}

	return d
}

// buildEscrowPayload returns the JSON of an escrow operation's own event. The JSON has the user's
// balances only if showUser is set, and the model's balance only if showModel is set. A party must
// not see the balances of the other party.
func (w *eventWriter) buildEscrowPayload(id, eventType string, showUser, showModel bool) []byte {
	tx := w.tx
	user := &tx.Parties[0]
	var model *Party
	if len(tx.Parties) > 1 {
		model = &tx.Parties[1]
	}

	b := w.openPayload(id, eventType)
	b = appendField(b, "userId", user.Account.ID())
	if model != nil {
		b = appendField(b, "modelId", model.Account.ID())
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

	if showUser && tx.Operation != OpSettle {
		b = appendNumber(b, "userAvailableBalance", user.Available)
		b = appendNumber(b, "userEscrowBalance", user.Escrow)
	}

	if showModel && model != nil {
		b = appendNumber(b, "modelEarnedBalance", model.Earned)
	}

	return w.closePayload(b)
}

// buildBalanceDelivery returns the balance_updated event of one leg.
func (w *eventWriter) buildBalanceDelivery(p *Party, l leg, seq int64) bus.Delivery {
	tx := w.tx
	d := bus.Delivery{
		ID:          deriveID(tx.ID, "event:", w.place).String(),
		Type:        EventBalanceUpdated,
		Account:     string(p.Account),
		Seq:         seq,
		Chain:       w.nextChain(),
		Amount:      max(l.amount, -l.amount),
		Reason:      tx.Reason,
		TraceParent: tx.Trace,
	}

	after := p.balanceIn(l.state)
	b := w.openPayload(d.ID, d.Type)
	b = appendField(b, "accountId", p.Account.ID())
	b = appendField(b, "accountType", string(p.Account.Type()))
	b = appendField(b, "balanceState", string(l.state))
	b = appendNumber(b, "balanceBefore", after-l.amount)
	b = appendNumber(b, "balanceAfter", after)
	b = appendNumber(b, "changeAmount", l.amount)
	b = appendField(b, "ledgerEntryId", entryID(tx.ID, w.place).String())
	d.Data = w.closePayload(b)
	return d
}

// entryID returns an entry's id. It is the UUIDv5 of the transaction id and the entry's place.
func entryID(tx uuid.UUID, place int) uuid.UUID {
	return deriveID(tx, "entry:", place)
}
