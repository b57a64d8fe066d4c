package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestApplyKeepsTheSums applies random operations, most of which are refused, and compares the
// state with sums over the operations.
func TestApplyKeepsTheSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newApplyChecker()
		for i := range rapid.IntRange(1, 60).Draw(t, "operations") {
			c.applyRandomOp(t, i)
		}
		c.checkSums(t)
	})
}

// applyChecker applies operations and checks each transaction.
type applyChecker struct {
	state  *state
	at     time.Time
	issued int64
	paid   int64
	ids    []uuid.UUID // of the escrows

	// The head of each account's hash chain, and the seq of its last event.
	heads map[Account][]byte
	seqs  map[Account]int64
}

func newApplyChecker() *applyChecker {
	return &applyChecker{
		state: &state{wallets: map[Account]*wallet{}, escrows: map[uuid.UUID]*Escrow{}},
		at:    time.UnixMilli(1_700_000_000_000).UTC(),
		heads: map[Account][]byte{},
		seqs:  map[Account]int64{},
	}
}

func (c *applyChecker) applyRandomOp(t *rapid.T, i int) {
	op := drawOp(t, c.ids)
	if op.Operation == OpHold {
		op.EscrowID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, "escrow", i))
	}
	before := snapshotState(c.state)
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, i))
	tx, err := applyOp(c.state, &op, id, c.at, c.at)
	if err != nil {
		if after := snapshotState(c.state); after != before {
			t.Fatalf("%+v was refused (%v) but changed the state:\ngot  %s\nwant %s", op, err, after, before)
		}
		return
	}
	switch op.Operation {
	case OpHold:
		c.ids = append(c.ids, op.EscrowID)
	case OpCredit:
		c.issued += op.Amount
	case OpDebit:
		c.paid += op.Amount
	}
	c.checkDeliveries(t, &tx, c.checkEntries(t, &tx))
}

func (c *applyChecker) checkSums(t *rapid.T) {
	var total, inEscrow, held int64
	for _, w := range c.state.wallets {
		if w.Available < 0 || w.Escrow < 0 || w.Earned < 0 {
			t.Fatalf("got a negative balance: %+v", w)
		}
		total += w.Available + w.Escrow + w.Earned
		inEscrow += w.Escrow
	}
	for _, e := range c.state.escrows {
		if e.Status == StatusHeld {
			held += e.Amount
		} else if got := e.RefundAmount + e.SettleAmount; got != e.Amount {
			t.Fatalf("parts of escrow %s: got %d, want %d", e.ID, got, e.Amount)
		}
	}
	if want := c.issued - c.paid; total != want {
		t.Fatalf("points in wallets: got %d, want %d", total, want)
	}
	if inEscrow != held {
		t.Fatalf("points in escrow: got %d, want %d", inEscrow, held)
	}
}

// checkEntries checks that the entries sum to zero and that the hash chains continue. It returns
// the entries of users and models by account and seq.
func (c *applyChecker) checkEntries(t *rapid.T, tx *Transaction) map[Account]map[int64]*Entry {
	var sum int64
	entries := map[Account]map[int64]*Entry{}
	for i := range tx.Entries {
		e := &tx.Entries[i]
		sum += e.Amount
		if e.Place != i {
			t.Fatalf("place of entry %d: got %d", i, e.Place)
		}
		if e.State == StateSystem {
			continue
		}
		want := hashEntry(c.heads[e.Account], encodeSummary(tx), e)
		if !bytes.Equal(e.Hash, want) {
			t.Fatalf("hash of %s at seq %d: got %x, want %x", e.Account, e.Seq, e.Hash, want)
		}
		c.heads[e.Account] = e.Hash
		if entries[e.Account] == nil {
			entries[e.Account] = map[int64]*Entry{}
		}
		entries[e.Account][e.Seq] = e
	}
	if sum != 0 {
		t.Fatalf("sum of the entries: got %d, want 0", sum)
	}
	return entries
}

// checkDeliveries checks the events that are derived from the transaction. Their seqs continue, and
// each balance_updated event agrees with its entry.
func (c *applyChecker) checkDeliveries(t *rapid.T, tx *Transaction, entries map[Account]map[int64]*Entry) {
	for party, update := range deriveUpdates(tx) {
		a := Account(update.Account)
		if want := c.seqs[a] + 1; update.First() != want {
			t.Fatalf("first seq of %s: got %d, want %d", a, update.First(), want)
		}
		balanceEvents := 0
		for i := range update.Deliveries {
			d := &update.Deliveries[i]
			c.seqs[a]++
			if d.Seq != c.seqs[a] {
				t.Fatalf("delivery %d of %s: got seq %d, want %d", i, a, d.Seq, c.seqs[a])
			}
			if d.Account != update.Account {
				t.Fatalf("delivery %d of %s: got account %s", i, a, d.Account)
			}
			if !json.Valid(d.Data) || !json.Valid(d.ForAccount()) {
				t.Fatalf("delivery %d of %s: got invalid JSON: %s", i, a, d.Data)
			}
			if d.Type == EventBalanceUpdated {
				balanceEvents++
				checkBalanceEvent(t, tx, d.Data, entries[a][d.Seq])
				continue
			}
			// The transaction's own event comes first, and once more for the second party.
			if i != 0 {
				t.Fatalf("%s of %s: got delivery %d, want the first one", d.Type, a, i)
			}
			if want := party > 0; d.SecondParty != want {
				t.Fatalf("%s of %s: got second party %t, want %t", d.Type, a, d.SecondParty, want)
			}
		}
		w := c.state.wallets[a]
		if w.Seq != c.seqs[a] {
			t.Fatalf("seq of wallet %s: got %d, want %d", a, w.Seq, c.seqs[a])
		}
		if update.Balance != w.currentBalance() {
			t.Fatalf("balance in the update of %s: got %+v, want %+v", a, update.Balance, w.currentBalance())
		}
		if balanceEvents != len(entries[a]) {
			t.Fatalf("balance_updated events of %s: got %d, want %d", a, balanceEvents, len(entries[a]))
		}
	}
}

// checkBalanceEvent compares a balance_updated event with its entry.
func checkBalanceEvent(t *rapid.T, tx *Transaction, data []byte, e *Entry) {
	type balanceEvent struct {
		BalanceState  BalanceState
		BalanceBefore int64
		BalanceAfter  int64
		ChangeAmount  int64
		LedgerEntryID uuid.UUID
	}
	var got balanceEvent
	err := json.Unmarshal(data, &got)
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		t.Fatalf("event without an entry: %s", data)
	}
	want := balanceEvent{e.State, e.BalanceBefore, e.BalanceAfter, e.Amount, entryID(tx.ID, e.Place)}
	if got != want {
		t.Fatalf("balance_updated event: got %+v, want %+v", got, want)
	}
}

// drawOp draws an operation on few accounts, with small amounts, so that some are valid.
func drawOp(t *rapid.T, escrows []uuid.UUID) Op {
	users := []Account{"user:a", "user:b"}
	models := []Account{"model:x", "model:y"}
	operations := []Operation{OpCredit, OpCredit, OpDebit, OpHold, OpHold, OpSettle, OpRefund, OpPartialSettle}
	op := Op{
		Operation:      rapid.SampledFrom(operations).Draw(t, "operation"),
		Reason:         "admin_credit",
		IdempotencyKey: "k",
	}
	amount := rapid.Int64Range(1, 20)
	switch op.Operation {
	case OpCredit, OpDebit:
		op.Account = rapid.SampledFrom(slices.Concat(users, models)).Draw(t, "account")
		op.Amount = amount.Draw(t, "amount")
		if rapid.IntRange(0, 20).Draw(t, "huge") == 0 {
			op.Amount = MaxAmount - amount.Draw(t, "less")
		}
		return op
	case OpHold:
		op.Account = rapid.SampledFrom(users).Draw(t, "account")
		op.Amount = amount.Draw(t, "amount")
		return op
	}

	op.EscrowID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("none"))
	if len(escrows) > 0 {
		op.EscrowID = rapid.SampledFrom(escrows).Draw(t, "escrow")
	}
	if op.Operation != OpRefund {
		op.Model = rapid.SampledFrom(models).Draw(t, "model")
	}
	if op.Operation == OpPartialSettle {
		op.RefundAmount = amount.Draw(t, "refund")
		op.SettleAmount = amount.Draw(t, "settle")
	} else {
		op.Amount = amount.Draw(t, "amount")
	}
	return op
}

func snapshotState(st *state) string {
	var rows []string
	for _, w := range st.wallets {
		rows = append(rows, fmt.Sprintf("%+v", *w))
	}
	for _, e := range st.escrows {
		rows = append(rows, fmt.Sprintf("%+v", *e))
	}
	slices.Sort(rows)
	return fmt.Sprint(rows)
}

func TestEventsShowEachPartyItsOwnView(t *testing.T) {
	for _, operation := range []Operation{OpPartialSettle, OpSettle} {
		t.Run(string(operation), func(t *testing.T) {
			tx := Transaction{
				ID:           uuid.New(),
				Operation:    operation,
				Amount:       10,
				RefundAmount: 4,
				SettleAmount: 6,
				Reason:       "partial_performance",
				EscrowID:     uuid.New(),
				QueueItemID:  "q",
				CreatedAt:    time.UnixMilli(1_700_000_000_000),
				Parties: []Party{
					{Account: "user:u", Seq: 9, Available: 4},
					{Account: "model:m", Seq: 2, Earned: 6},
				},
			}
			updates := deriveUpdates(&tx)
			user := updates[0].Deliveries[0]
			model := updates[1].Deliveries[0]
			checkEqual(t, "event id of the model's delivery", model.ID, user.ID)
			checkEqual(t, "user's delivery is the second party's", user.SecondParty, false)
			checkEqual(t, "model's delivery is the second party's", model.SecondParty, true)
			checkEqual(t, "full event of the model's delivery", string(model.Data), string(user.Data))

			checkField(t, "full event", user.Data, "modelEarnedBalance", true)
			checkField(t, "user's view", user.ForAccount(), "modelEarnedBalance", false)
			checkField(t, "model's view", model.ForAccount(), "modelEarnedBalance", true)
			checkField(t, "model's view", model.ForAccount(), "userAvailableBalance", false)
			checkField(t, "model's view", model.ForAccount(), "userEscrowBalance", false)
		})
	}
}

// checkField checks whether an event has a field.
func checkField(t *testing.T, name string, event []byte, field string, want bool) {
	t.Helper()
	got := bytes.Contains(event, []byte(`"`+field+`"`))
	if got != want {
		t.Errorf("%s has %s: got %t, want %t: %s", name, field, got, want, event)
	}
}

func TestIDsCarryTheirTime(t *testing.T) {
	id, at := newID(nil)
	if since := time.Since(at).Abs(); since > time.Minute {
		t.Errorf("time of a new id: got %v from now, want at most a minute", since)
	}
	lowest := smallestID(at)
	if bytes.Compare(lowest[:], id[:]) > 0 {
		t.Errorf("lower bound of %v: got %v, want at most the id", id, lowest)
	}
	if got := idTime(lowest); !got.Equal(at) {
		t.Errorf("time of %v: got %v, want %v", lowest, got, at)
	}
	next := smallestID(at.Add(time.Millisecond))
	if bytes.Compare(next[:], id[:]) <= 0 {
		t.Errorf("lower bound of the next millisecond: got %v, want it above %v", next, id)
	}
	before := smallestID(time.Unix(-1, 0))
	after := smallestID(time.Unix(1, 0))
	if bytes.Compare(before[:], after[:]) >= 0 {
		t.Errorf("lower bound of 1969: got %v, want it below %v of 1970", before, after)
	}
}

func TestIDsDoNotGoBack(t *testing.T) {
	future := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	id, at, now := newIDAfter(future, nil)
	if !at.Equal(future) {
		t.Errorf("time of the transaction: got %v, want %v", at, future)
	}
	if got := idTime(id); !got.Equal(future) {
		t.Errorf("time of the id: got %v, want %v", got, future)
	}
	checkEqual(t, "version of the id", id.Version(), 7)
	if since := time.Since(now).Abs(); since > time.Minute {
		t.Errorf("clock: got %v from now, want at most a minute", since)
	}

	_, at, now = newIDAfter(time.Time{}, nil)
	if since := time.Since(at); since > time.Minute {
		t.Errorf("time without a bound: got %v from now, want at most a minute", since)
	}
	if !at.Equal(now) {
		t.Errorf("time without a bound: got %v, want the clock's %v", at, now)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("user:u1", "key", "admin_credit", `{"a":1}`, "q", int64(1), uint8(0))
	f.Add("user:{0}:", "a b", "Reason", `{`, "\x00", int64(-1), uint8(2))
	operations := []Operation{OpCredit, OpDebit, OpHold, OpSettle, OpRefund, OpPartialSettle, "none"}
	f.Fuzz(func(t *testing.T, account, key, reason, metadata, item string, amount int64, operation uint8) {
		op := Op{
			Operation:      operations[int(operation)%len(operations)],
			Account:        Account(account),
			Model:          Account(account),
			IdempotencyKey: key,
			Reason:         reason,
			Metadata:       json.RawMessage(metadata),
			QueueItemID:    item,
			FeatureType:    item,
			Amount:         amount,
			EscrowID:       uuid.New(),
		}
		err := op.Validate()
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%+v: got error %v, want ErrInvalid or ErrTooLarge", op, err)
			}
			return
		}
		if amount < 1 || amount > MaxAmount {
			t.Fatalf("%+v: the amount was accepted", op)
		}
		if !json.Valid([]byte(metadata)) {
			t.Fatalf("%+v: the metadata were accepted", op)
		}
	})
}
