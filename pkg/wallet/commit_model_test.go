package wallet

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// TestLedgerAgainstModel does random operations on two cores of one database, with retries, reused
// keys and failures at every step. It compares each answer with a model that consists of a few
// maps.
func TestLedgerAgainstModel(t *testing.T) {
	t.Parallel()
	for name, newDatabase := range map[string]func(*testing.T) string{
		"postgres": newPostgresDatabase,
		"sqlite":   newSQLiteDatabase,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			var cores [2]modelCore
			for i := range cores {
				cores[i] = openModelCore(t, url)
			}
			var cases atomic.Int64
			rapid.Check(t, func(rt *rapid.T) {
				m := newModel(cores, fmt.Sprintf("%d-", cases.Add(1)))
				rt.Repeat(map[string]func(*rapid.T){
					"operation": m.doNewOperation,
					"retry":     m.retryOperation,
					"":          m.checkBalances,
				})
				m.checkChains(rt)
			})
			checkLedger(t, cores[0].ledger)
		})
	}
}

// modelCore is one of the cores that are tested.
type modelCore struct {
	store     *faultyStore
	ledger    *Ledger
	announced *announcements
}

// announcements are the updates that a core announced after its commits, by key.
type announcements struct {
	mu      sync.Mutex
	updates map[string]bus.AccountUpdate
}

func (a *announcements) addRows(rows []bus.OutboxRow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, row := range rows {
		for _, u := range row.Updates {
			a.updates[u.Key] = u
		}
	}
}

func (a *announcements) find(key string) (bus.AccountUpdate, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, ok := a.updates[key]
	return u, ok
}

func openModelCore(t *testing.T, url string) modelCore {
	t.Helper()
	announced := &announcements{updates: map[string]bus.AccountUpdate{}}
	l := openLedger(t, url, Config{Committed: announced.addRows})
	f := &faultyStore{store: l.store}
	l.store = f
	runUntilCleanup(t, l)
	return modelCore{store: f, ledger: l, announced: announced}
}

// answeredOp is an operation that was done, with its encoded receipt.
type answeredOp struct {
	op      Op
	receipt string
}

// model is what the ledger must answer.
type model struct {
	cores   [2]modelCore
	prefix  string // separates the accounts and keys of the cases in one database
	wallets map[Account]*wallet
	chains  map[Account]bus.Chain // of the newest receipt
	escrows map[uuid.UUID]*Escrow
	known   map[keyRef]answeredOp
	ids     []uuid.UUID // of the escrows
	keys    []keyRef
}

func newModel(cores [2]modelCore, prefix string) *model {
	return &model{
		cores:   cores,
		prefix:  prefix,
		wallets: map[Account]*wallet{},
		chains:  map[Account]bus.Chain{},
		escrows: map[uuid.UUID]*Escrow{},
		known:   map[keyRef]answeredOp{},
	}
}

// doNewOperation does an operation with a new key. Most of the drawn operations are valid.
func (m *model) doNewOperation(t *rapid.T) {
	op := drawOp(t, m.ids)
	if op.Account != "" {
		op.Account = Account(string(op.Account.Type()) + ":" + m.prefix + op.Account.ID())
	}
	if op.Model != "" {
		op.Model = Account("model:" + m.prefix + op.Model.ID())
	}
	if e := m.escrows[op.EscrowID]; e != nil && rapid.IntRange(0, 3).Draw(t, "right amount") > 0 {
		op.Amount = e.Amount
		op.RefundAmount = 0
		op.SettleAmount = 0
		if op.Operation == OpPartialSettle {
			op.Operation = OpSettle
		}
	}
	op.IdempotencyKey = fmt.Sprint(m.prefix, len(m.keys))
	switch op.Operation {
	case OpCredit, OpDebit:
	case OpHold:
		op.QueueItemID = "q"
		op.FeatureType = "f"
	default:
		op.QueueItemID = "q"
	}
	m.doOperation(t, op)
}

// retryOperation sends a known key again, with the same operation or with another one.
func (m *model) retryOperation(t *rapid.T) {
	if len(m.keys) == 0 {
		return // there is no operation to retry yet
	}
	op := m.known[rapid.SampledFrom(m.keys).Draw(t, "key")].op
	if rapid.Bool().Draw(t, "changed") {
		op.Reason = "other_reason"
	}
	m.doOperation(t, op)
}

func (m *model) doOperation(t *rapid.T, op Op) {
	core := m.cores[rapid.IntRange(0, 1).Draw(t, "ledger")]
	if rapid.IntRange(0, 3).Draw(t, "fault") == 0 {
		core.store.setFaults(drawFault(t))
	}
	got, err := core.ledger.Do(context.Background(), op)
	core.store.setFaults()

	ref := keyRef{op.Operation, op.IdempotencyKey}
	if known, found := m.known[ref]; found {
		checkRetry(t, &op, known, got, err)
		return
	}
	want := m.applyOperation(&op, got)
	if !errors.Is(err, want) {
		t.Fatalf("%+v: got error %v, want %v", op, err, want)
	}
	if err != nil {
		return
	}
	if got.Replayed {
		t.Fatalf("%+v: got a replayed receipt, want a new one", op)
	}
	for _, b := range got.Balances {
		m.chains[Account(b.Account)] = b.Chain
		m.compareBalance(t, Account(b.Account), b)
	}
	m.known[ref] = answeredOp{op, encodeReceipt(t, got)}
	m.keys = append(m.keys, ref)
}

func drawFault(t *rapid.T) fault {
	places := []string{"begin", "keys", "escrows", "wallets", "write", "commit before", "commit after"}
	causes := []error{driver.ErrBadConn, &pq.Error{Code: "40001"}, errConflict}
	return fault{
		at:  rapid.SampledFrom(places).Draw(t, "at"),
		err: rapid.SampledFrom(causes).Draw(t, "cause"),
	}
}

// checkRetry checks the answer to an operation whose key is known.
func checkRetry(t *rapid.T, op *Op, known answeredOp, got Receipt, err error) {
	if op.Reason != known.op.Reason {
		if !errors.Is(err, ErrKeyReused) {
			t.Fatalf("changed %+v: got error %v, want ErrKeyReused", op, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("retry of %+v: %v", op, err)
	}
	if !got.Replayed {
		t.Fatalf("retry of %+v: got a new receipt, want a replayed one", op)
	}
	if encoded := encodeReceipt(t, got); encoded != known.receipt {
		t.Fatalf("retry of %+v: got %s, want %s", op, encoded, known.receipt)
	}
}

// applyOperation applies the operation to the model and returns the error that the ledger must
// return. It is independent of apply.
func (m *model) applyOperation(op *Op, got Receipt) error {
	switch op.Operation {
	case OpCredit:
		return m.applyCredit(op)
	case OpDebit, OpHold:
		return m.applyDebitOrHold(op, got.EscrowID)
	default:
		return m.applyClose(op)
	}
}

// walletOf returns the account's wallet, which it creates if there is none.
func (m *model) walletOf(a Account) *wallet {
	if m.wallets[a] == nil {
		m.wallets[a] = &wallet{Account: a}
	}
	return m.wallets[a]
}

func (m *model) applyCredit(op *Op) error {
	if w := m.wallets[op.Account]; w != nil && w.Available+w.Escrow+w.Earned+op.Amount > MaxAmount {
		return ErrInvalid
	}
	w := m.walletOf(op.Account)
	if w.Account.IsUser() {
		w.Available += op.Amount
	} else {
		w.Earned += op.Amount
	}
	w.Seq++
	return nil
}

func (m *model) applyDebitOrHold(op *Op, escrow uuid.UUID) error {
	w := m.wallets[op.Account]
	if w == nil {
		return ErrAccountNotFound
	}
	if w.Available+w.Earned < op.Amount { // one of them is always zero
		return ErrInsufficientFunds
	}
	if w.Account.IsUser() {
		w.Available -= op.Amount
	} else {
		w.Earned -= op.Amount
	}
	w.Seq++
	if op.Operation == OpHold {
		w.Escrow += op.Amount
		w.Seq += 2
		m.escrows[escrow] = &Escrow{User: op.Account, Amount: op.Amount, Status: StatusHeld}
		m.ids = append(m.ids, escrow)
	}
	return nil
}

func (m *model) applyClose(op *Op) error {
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
	refunded := op.RefundAmount
	earned := op.SettleAmount
	switch op.Operation {
	case OpSettle:
		earned = e.Amount
	case OpRefund:
		refunded = e.Amount
	}
	if w := m.wallets[op.Model]; earned > 0 && w != nil && w.Earned+earned > MaxAmount {
		return ErrInvalid
	}

	user := m.wallets[e.User]
	user.Escrow -= e.Amount
	user.Available += refunded
	user.Seq += 2
	if refunded > 0 {
		user.Seq++
	}
	if earned > 0 {
		w := m.walletOf(op.Model)
		w.Earned += earned
		w.Seq += 2
	}
	e.Status = StatusSettled
	return nil
}

// checkBalances compares the balances of the first core with the model's.
func (m *model) checkBalances(t *rapid.T) {
	for a := range m.wallets {
		b, err := m.cores[0].ledger.Balance(context.Background(), a)
		if err != nil {
			t.Fatalf("balance of %s: %v", a, err)
		}
		m.compareBalance(t, a, b)
	}
}

// checkChains checks the chains of each account, and that the cores announced the stored updates.
func (m *model) checkChains(t *rapid.T) {
	for a := range m.wallets {
		CheckChains(t, m.cores[0].ledger, a)
		updates, err := m.cores[0].ledger.UpdatesAfter(context.Background(), string(a), 0, 1000)
		if err != nil {
			t.Fatalf("updates of %s: %v", a, err)
		}
		for _, stored := range updates {
			for _, core := range m.cores {
				announced, ok := core.announced.find(stored.Key)
				if ok && !reflect.DeepEqual(announced, stored) {
					t.Fatalf("update %s:\nannounced %+v\nstored    %+v", stored.Key, announced, stored)
				}
			}
		}
	}
}

func (m *model) compareBalance(t *rapid.T, a Account, got Balance) {
	w := m.wallets[a]
	want := Balance{
		Account:   string(a),
		Available: w.Available,
		Escrow:    w.Escrow,
		Earned:    w.Earned,
		Seq:       w.Seq,
		Chain:     m.chains[a],
		UpdatedAt: got.UpdatedAt,
	}
	if got != want {
		t.Fatalf("balance of %s: got %+v, want %+v", a, got, want)
	}
}

func encodeReceipt(t *rapid.T, r Receipt) string {
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}
