package wallet

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// TestLedgerGoesOnWithAnOlderCopyOfItsDatabase copies the database, does more operations, and then
// replaces the database with the copy. Everything that the ledger remembers of these operations is
// wrong from then on.
func TestLedgerGoesOnWithAnOlderCopyOfItsDatabase(t *testing.T) {
	t.Parallel()
	url := newPostgresDatabase(t)
	announced := &announcedIDs{}
	l := openLedger(t, url, Config{Committed: announced.addRows})
	runUntilCleanup(t, l)

	kept := mustDoBatch(t, l, []Op{newCredit("user:a", 100, "c1"), newHold("user:a", 10, "h1"), newHold("user:a", 20, "h2")})
	checkEqual(t, "first generation", l.Generation(), 1)
	backup := testenv.BackUpPostgres(t, url)
	announced.takeIDs()
	lostCredit := newCredit("user:a", 500, "c2")
	var lost []Receipt
	for _, op := range []Op{
		lostCredit,
		newHold("user:a", 30, "h3"),
		newSettle(kept[1].EscrowID, "model:m", 10, "s1"),
		newCredit("user:b", 5, "c3"),
	} {
		lost = append(lost, mustDoBatch(t, l, []Op{op})...) // each has its own outbox row
	}
	checkEqual(t, "generation after other connections to the same database", l.Generation(), 1)
	lostIDs := announced.takeIDs()
	backup.Restore()

	checkBalance(t, l, "user:a", Balance{Available: 70, Escrow: 30, Seq: 7})
	checkEqual(t, "generation with the copy", l.Generation(), 2)
	checkOperationsOnTheCopy(t, l, kept, lost, lostCredit)
	checkEqual(t, "generation after operations", l.Generation(), 2)

	pending := listPendingIDs(t, l)
	if !haveCommonRow(lostIDs, pending) {
		t.Fatal("the copy must have an outbox row with the number of a lost row")
	}
	err := l.Published(t.Context(), lostIDs)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "pending transactions after the lost ones were published", len(listPendingIDs(t, l)), len(pending))
	err = l.Published(t.Context(), pending)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "pending transactions", len(listPendingIDs(t, l)), 0)

	for _, a := range []Account{"user:a", "model:m"} {
		CheckChains(t, l, a)
	}
	checkLedger(t, l)
}

// checkOperationsOnTheCopy does operations whose answers would be others in the lost history.
func checkOperationsOnTheCopy(t *testing.T, l *Ledger, kept, lost []Receipt, lostCredit Op) {
	t.Helper()
	debit := newCredit("user:a", 300, "d1")
	debit.Operation = OpDebit
	_, err := l.Do(t.Context(), debit)
	checkError(t, "debit of lost points", err, ErrInsufficientFunds)
	_, err = l.Do(t.Context(), newSettle(lost[1].EscrowID, "model:m", 30, "s2"))
	checkError(t, "settlement of a lost escrow", err, ErrEscrowNotFound)
	debit.Account = "user:b"
	_, err = l.Do(t.Context(), debit)
	checkError(t, "debit of a lost account", err, ErrAccountNotFound)

	again := mustDoBatch(t, l, []Op{newCredit("user:a", 100, "c1")})[0]
	checkEqual(t, "repeat of a kept operation is replayed", again.Replayed, true)
	checkEqual(t, "chain of the replayed receipt", again.Balances[0].Chain, kept[0].Balances[0].Chain)
	repeated := mustDoBatch(t, l, []Op{lostCredit, newRefund(kept[1].EscrowID, 10, "r1"), newSettle(kept[2].EscrowID, "model:m", 20, "s3")})
	checkEqual(t, "repeat of a lost operation is replayed", repeated[0].Replayed, false)
	if repeated[0].Balances[0].Chain == lost[0].Balances[0].Chain {
		t.Error("the repeated operation has the chain of the lost one")
	}
	checkBalance(t, l, "user:a", Balance{Available: 70 + 500 + 10, Seq: 7 + 1 + 3 + 2})
	checkBalance(t, l, "model:m", Balance{Earned: 20, Seq: 2})
}

// announcedIDs collects the outbox ids of committed transactions.
type announcedIDs struct {
	mu  sync.Mutex
	ids []int64
}

func (a *announcedIDs) addRows(rows []bus.OutboxRow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rows {
		a.ids = append(a.ids, r.ID)
	}
}

func (a *announcedIDs) takeIDs() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := a.ids
	a.ids = nil
	return ids
}

func listPendingIDs(t *testing.T, l *Ledger) []int64 {
	t.Helper()
	rows, err := l.Pending(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	return ids
}

func haveCommonRow(a, b []int64) bool {
	rows := map[int64]bool{}
	for _, id := range a {
		rows[splitOutboxID(id).row] = true
	}
	return slices.ContainsFunc(b, func(id int64) bool { return rows[splitOutboxID(id).row] })
}

func TestCommitCacheIsEmptiedInANewGeneration(t *testing.T) {
	t.Parallel()
	var c commitCache
	stored := func() *mutations {
		return &mutations{
			wallets: []*wallet{{Account: "user:a"}},
			opened:  []*Escrow{{ID: uuid.Max, User: "user:a", Status: StatusHeld}},
		}
	}
	c.startGeneration(1)
	c.storeBatch(stored(), 1)
	c.startGeneration(1)
	checkEqual(t, "wallet is cached", c.wallets.get("user:a") != nil, true)
	checkEqual(t, "user of the cached escrow", c.escrowUser(uuid.Max), "user:a")

	c.startGeneration(2)
	checkEqual(t, "wallet of the earlier generation is cached", c.wallets.get("user:a") != nil, false)
	checkEqual(t, "user of an escrow of the earlier generation", c.escrowUser(uuid.Max), "")
	c.storeBatch(stored(), 1) // began before the new generation
	checkEqual(t, "wallet of a batch of the earlier generation is cached", c.wallets.get("user:a") != nil, false)
	c.startGeneration(1)
	c.storeBatch(stored(), 2)
	checkEqual(t, "wallet of the new generation is cached", c.wallets.get("user:a") != nil, true)
}

// TestOutboxIDsKeepTheirParts packs and unpacks the largest parts.
func TestOutboxIDsKeepTheirParts(t *testing.T) {
	t.Parallel()
	for _, p := range []outboxPlace{
		{generation: 0, row: 1, place: 0, count: 1},
		{generation: 15, row: 1<<39 - 1, place: 1023, count: 1024},
		{generation: 3, row: 70_000, place: 5, count: 9},
	} {
		checkEqual(t, fmt.Sprintf("parts of %+v", p), splitOutboxID(p.toID()), p)
		checkEqual(t, fmt.Sprintf("id of %+v is positive", p), p.toID() > 0, true)
	}
}

// TestRestoreUnderLoad restores an older copy while callers do operations. A receipt that a caller
// gets after it has seen the new generation is a receipt of the copy.
func TestRestoreUnderLoad(t *testing.T) {
	t.Parallel()
	url := newPostgresDatabase(t)
	l := openLedger(t, url, Config{Logger: slog.New(slog.DiscardHandler)})
	runUntilCleanup(t, l)
	const callers = 8
	ops := make([]Op, callers)
	for i := range ops {
		ops[i] = newCredit(callerAccount(i), 1000, fmt.Sprint("first-", i))
	}
	mustDoBatch(t, l, ops)
	backup := testenv.BackUpPostgres(t, url)

	var wg sync.WaitGroup
	kept := make([][]uuid.UUID, callers)
	lost := make(chan struct{}, callers) // gets a value when a caller has done operations that will be lost
	for i := range callers {
		wg.Go(func() { kept[i] = creditAcrossRestore(t, l, i, lost) })
	}
	for range callers {
		<-lost
	}
	backup.Restore()
	wg.Wait()

	for i, ids := range kept {
		for _, id := range ids {
			_, err := l.Transaction(t.Context(), id)
			checkError(t, "transaction with a receipt of the copy", err, nil)
		}
		CheckChains(t, l, callerAccount(i))
	}
	checkEqual(t, "generation", l.Generation(), 2)
	checkLedger(t, l)
}

func callerAccount(i int) Account { return Account(fmt.Sprint("user:caller", i)) }

// creditAcrossRestore does operations until 20 of them have begun in the second generation. It
// returns the transactions of these.
func creditAcrossRestore(t *testing.T, l *Ledger, caller int, lost chan<- struct{}) []uuid.UUID {
	t.Helper()
	var kept []uuid.UUID
	for n := 0; len(kept) < 20; n++ {
		if n == 20 {
			lost <- struct{}{}
		}
		generation := l.Generation()
		receipt, err := l.Do(t.Context(), newCredit(callerAccount(caller), 1, fmt.Sprint(caller, "-", n)))
		if err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("operation %d of caller %d: %v", n, caller, err)
		}
		if t.Context().Err() != nil {
			break
		}
		if err == nil && generation == 2 {
			kept = append(kept, receipt.TransactionID)
		}
	}
	return kept
}
