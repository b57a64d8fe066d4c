package wallet

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"pgregory.net/rapid"
)

// TestLedgerAgainstModel runs random operations on two ledgers of one database,
// with repeats, reused keys and failures at every step, and compares each answer
// with a model that is a few maps.
func TestLedgerAgainstModel(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{"postgres": postgresDatabase, "sqlite": sqliteDatabase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			s := &system{stores: [2]*faulty{}, ledgers: [2]*Ledger{}}
			for i := range s.ledgers {
				s.open(t, i, url)
			}
			var cases atomic.Int64
			rapid.Check(t, func(rt *rapid.T) {
				m := &model{t: rt, system: s, prefix: fmt.Sprintf("%d-", cases.Add(1)), wallets: map[Account]*wallet{}, escrows: map[uuid.UUID]*Escrow{}, known: map[keyRef]answered{}}
				rt.Repeat(map[string]func(*rapid.T){"operation": m.operation, "repeat": m.repeat, "": m.check})
			})
			r, err := s.ledgers[0].Verify(t.Context(), VerifyOptions{})
			if err != nil || !r.OK() {
				t.Errorf("after it all: %+v, %v", r, err)
			}
		})
	}
}

// system is what is tested.
type system struct {
	stores  [2]*faulty
	ledgers [2]*Ledger
}

func (s *system) open(t *testing.T, i int, url string) {
	t.Helper()
	l, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.stores[i] = &faulty{store: l.store}
	l.store = s.stores[i]
	s.ledgers[i] = l
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Error(err)
		}
	})
}

type answered struct {
	op      Op
	receipt string
}

type model struct {
	t       *rapid.T
	system  *system
	prefix  string // keeps the cases' accounts and keys apart in one database
	wallets map[Account]*wallet
	escrows map[uuid.UUID]*Escrow
	known   map[keyRef]answered
	ids     []uuid.UUID
	keys    []keyRef
}

// operation does something new, most likely right.
func (m *model) operation(t *rapid.T) {
	op := drawOp(t, m.ids)
	if op.Account != "" {
		op.Account = Account(string(op.Account.Type()) + ":" + m.prefix + op.Account.ID())
	}
	if op.Model != "" {
		op.Model = Account("model:" + m.prefix + op.Model.ID())
	}
	if e := m.escrows[op.EscrowID]; e != nil && rapid.IntRange(0, 3).Draw(t, "right amount") > 0 {
		op.Amount, op.RefundAmount, op.SettleAmount = e.Amount, 0, 0
		if op.Operation == OpPartialSettle {
			op.Operation = OpSettle
		}
	}
	op.IdempotencyKey = fmt.Sprint(m.prefix, len(m.keys))
	op.QueueItemID = "q"
	if op.Operation == OpHold {
		op.FeatureType = "f"
	}
	if op.Operation == OpCredit || op.Operation == OpDebit {
		op.QueueItemID = ""
	}
	m.do(t, op)
}

// repeat asks again for something that was done, or for something else under its key.
func (m *model) repeat(t *rapid.T) {
	if len(m.keys) == 0 {
		t.Skip("nothing to repeat")
	}
	op := m.known[rapid.SampledFrom(m.keys).Draw(t, "key")].op
	if rapid.Bool().Draw(t, "changed") {
		op.Reason = "other_reason"
	}
	m.do(t, op)
}

func (m *model) do(t *rapid.T, op Op) {
	i := rapid.IntRange(0, 1).Draw(t, "ledger")
	if rapid.IntRange(0, 3).Draw(t, "fault") == 0 {
		m.system.stores[i].arm(fault{
			at:  rapid.SampledFrom([]string{"begin", "keys", "escrows", "wallets", "write", "commit before", "commit after"}).Draw(t, "at"),
			err: rapid.SampledFrom([]error{driver.ErrBadConn, &pq.Error{Code: "40001"}, errConflict}).Draw(t, "cause"),
		})
	}
	got, err := m.system.ledgers[i].Do(context.Background(), op)
	m.system.stores[i].arm()

	if k, ok := m.known[keyRef{op.Operation, op.IdempotencyKey}]; ok {
		switch {
		case k.op.Reason != op.Reason:
			if !errors.Is(err, ErrKeyReused) {
				t.Fatalf("%+v: %v, want ErrKeyReused", op, err)
			}
		case err != nil || !got.Replayed || asJSON(t, got) != k.receipt:
			t.Fatalf("repeat of %+v: %s, %v, want %s", op, asJSON(t, got), err, k.receipt)
		}
		return
	}
	want := m.expect(&op, got)
	if fmt.Sprint(want) != fmt.Sprint(err) && !errors.Is(err, want) {
		t.Fatalf("%+v: %v, want %v", op, err, want)
	}
	if err != nil {
		return
	}
	if got.Replayed {
		t.Fatalf("%+v is said to be a repeat", op)
	}
	for _, b := range got.Balances {
		if w := m.wallets[Account(b.Account)]; b.Available != w.Available || b.Escrow != w.Escrow || b.Earned != w.Earned || b.Seq != w.Seq {
			t.Fatalf("%+v left %+v, want %+v", op, b, w)
		}
	}
	m.known[keyRef{op.Operation, op.IdempotencyKey}] = answered{op, asJSON(t, got)}
	m.keys = append(m.keys, keyRef{op.Operation, op.IdempotencyKey})
}

// expect is the contract in a few lines, independent of apply.
func (m *model) expect(op *Op, got Receipt) error {
	get := func(a Account) *wallet {
		if m.wallets[a] == nil {
			m.wallets[a] = &wallet{Account: a}
		}
		return m.wallets[a]
	}
	switch op.Operation {
	case OpCredit:
		if w := m.wallets[op.Account]; w != nil && w.Available+w.Escrow+w.Earned+op.Amount > MaxAmount {
			return ErrInvalid
		}
		w := get(op.Account)
		if w.Account.IsUser() {
			w.Available += op.Amount
		} else {
			w.Earned += op.Amount
		}
		w.Seq++
	case OpDebit, OpHold:
		w := m.wallets[op.Account]
		if w == nil {
			return ErrAccountNotFound
		}
		if w.Available+w.Earned < op.Amount { // one of them is always zero
			return ErrInsufficientFunds
		}
		if op.Operation == OpHold {
			w.Available, w.Escrow, w.Seq = w.Available-op.Amount, w.Escrow+op.Amount, w.Seq+3
			m.escrows[got.EscrowID] = &Escrow{User: op.Account, Amount: op.Amount, Status: StatusHeld}
			m.ids = append(m.ids, got.EscrowID)
			return nil
		}
		if w.Account.IsUser() {
			w.Available -= op.Amount
		} else {
			w.Earned -= op.Amount
		}
		w.Seq++
	default:
		e := m.escrows[op.EscrowID]
		if e == nil {
			return ErrEscrowNotFound
		}
		if e.Status != StatusHeld {
			return ErrEscrowProcessed
		}
		if op.Amount+op.RefundAmount+op.SettleAmount != e.Amount {
			return ErrAmountMismatch
		}
		back, earned := op.RefundAmount, op.SettleAmount
		switch op.Operation {
		case OpSettle:
			earned = e.Amount
		case OpRefund:
			back = e.Amount
		}
		if w := m.wallets[op.Model]; earned > 0 && w != nil && w.Earned+earned > MaxAmount {
			return ErrInvalid
		}
		u := m.wallets[e.User]
		u.Escrow, u.Available, u.Seq = u.Escrow-e.Amount, u.Available+back, u.Seq+2
		if back > 0 {
			u.Seq++
		}
		if earned > 0 {
			w := get(op.Model)
			w.Earned, w.Seq = w.Earned+earned, w.Seq+2
		}
		e.Status = StatusSettled
	}
	return nil
}

// check compares the balances that the ledgers answer.
func (m *model) check(t *rapid.T) {
	for a, w := range m.wallets {
		b, err := m.system.ledgers[0].Balance(context.Background(), a)
		if err != nil || b.Available != w.Available || b.Escrow != w.Escrow || b.Earned != w.Earned || b.Seq != w.Seq {
			t.Fatalf("%s has %+v, %v, want %+v", a, b, err, w)
		}
	}
}

func asJSON(t *rapid.T, r Receipt) string {
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
