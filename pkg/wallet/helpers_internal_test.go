package wallet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// testCommitTimeout is longer than the default, because the machines of tests are often slow.
const testCommitTimeout = 2 * time.Minute

// The builders of operations fill in valid values for the fields that most tests do not name.

func newCredit(a Account, amount int64, key string) Op {
	return Op{Operation: OpCredit, Account: a, Amount: amount, Reason: "admin_credit", IdempotencyKey: key}
}

func newHold(a Account, amount int64, key string) Op {
	return Op{
		Operation:      OpHold,
		Account:        a,
		Amount:         amount,
		Reason:         "r",
		QueueItemID:    "q",
		FeatureType:    "f",
		IdempotencyKey: key,
	}
}

func newSettle(escrow uuid.UUID, model Account, amount int64, key string) Op {
	return Op{
		Operation:      OpSettle,
		EscrowID:       escrow,
		Model:          model,
		Amount:         amount,
		Reason:         "r",
		QueueItemID:    "q",
		IdempotencyKey: key,
	}
}

func newRefund(escrow uuid.UUID, amount int64, key string) Op {
	return Op{
		Operation:      OpRefund,
		EscrowID:       escrow,
		Amount:         amount,
		Reason:         "r",
		QueueItemID:    "q",
		IdempotencyKey: key,
	}
}

// forEachDatabase runs a test on a fresh, migrated database of each kind.
func forEachDatabase(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("postgres", func(t *testing.T) { test(t, newPostgresDatabase(t)) })
	t.Run("sqlite", func(t *testing.T) { test(t, newSQLiteDatabase(t)) })
}

// newPostgresDatabase returns the URL of a new, migrated database. A busy machine gets more time for a
// statement than the default.
func newPostgresDatabase(t *testing.T) string {
	t.Helper()
	schema := testenv.Schema{Version: testenv.HashFS(t, migrations) + versionTable, Migrate: migrateDatabase}
	return testenv.Postgres(t, schema) + "&statement_timeout=120000"
}

func newEmptyPostgresDatabase(t *testing.T) string {
	t.Helper()
	return testenv.Postgres(t, testenv.Schema{})
}

func newSQLiteDatabase(t *testing.T) string {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
	err := migrateDatabase(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func migrateDatabase(ctx context.Context, url string) error {
	_, err := Migrate(ctx, url)
	return err
}

// runLedger opens the ledger and runs it until the test ends.
func runLedger(t *testing.T, url string) *Ledger {
	t.Helper()
	l := openLedger(t, url, Config{})
	runUntilCleanup(t, l)
	return l
}

// openLedger opens the ledger. The caller closes it. CommitTimeout defaults to testCommitTimeout.
func openLedger(t testing.TB, url string, cfg Config) *Ledger {
	t.Helper()
	cfg.CommitTimeout = cmp.Or(cfg.CommitTimeout, testCommitTimeout)
	l, err := Open(t.Context(), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runUntilCleanup runs the ledger until the test ends, then closes it.
func runUntilCleanup(t *testing.T, l *Ledger) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		err := errors.Join(<-ended, l.Close())
		if err != nil {
			t.Error(err)
		}
	})
}

// mustDoBatch does the operations as one call, ends the test if one of them fails, and returns the
// receipts.
func mustDoBatch(t *testing.T, l *Ledger, ops []Op) []Receipt {
	t.Helper()
	receipts := make([]Receipt, len(ops))
	for i, r := range l.DoBatch(t.Context(), ops) {
		if r.Err != nil {
			t.Fatalf("operation %d of the batch: %v", i, r.Err)
		}
		receipts[i] = r.Receipt
	}
	return receipts
}

// execStatement runs a statement on the ledger's database, without the ledger.
func execStatement(t *testing.T, l *Ledger, statement string, args ...any) {
	t.Helper()
	_, err := l.store.sharedQueries().db.ExecContext(t.Context(), statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// waitForCondition polls a condition that has no signal. It ends the test after five minutes.
func waitForCondition(t testing.TB, condition string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("not within five minutes: %s", condition)
		}
	}
}

// waitForPing waits until Ping returns an error with the text, or none if the text is empty. On a busy
// machine a ping may exceed its limit.
func waitForPing(t *testing.T, l *Ledger, want string) {
	t.Helper()
	waitForCondition(t, fmt.Sprintf("the error of Ping is %q", want), func() bool {
		err := l.Ping(t.Context())
		if want == "" || err == nil {
			return want == "" && err == nil
		}
		return strings.Contains(err.Error(), want)
	})
}

// checkEqual names the value that differs from the expected one.
func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// checkError compares an error with the expected one, which may be nil.
func checkError(t testing.TB, name string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", name, got, want)
	}
}

// checkBalance compares the account's balance with the expected one. It does not compare UpdatedAt.
func checkBalance(t *testing.T, l *Ledger, a Account, want Balance) {
	t.Helper()
	got, err := l.Balance(t.Context(), a)
	if err != nil {
		t.Errorf("balance of %s: %v", a, err)
		return
	}
	checkEqual(t, string(a)+" available", got.Available, want.Available)
	checkEqual(t, string(a)+" escrow", got.Escrow, want.Escrow)
	checkEqual(t, string(a)+" earned", got.Earned, want.Earned)
	checkEqual(t, string(a)+" seq", got.Seq, want.Seq)
}

// checkEscrowStatus reads the escrow, compares its status with the expected one and returns it.
func checkEscrowStatus(t *testing.T, l *Ledger, id uuid.UUID, want EscrowStatus) Escrow {
	t.Helper()
	e, err := l.Escrow(t.Context(), id)
	if err != nil {
		t.Fatalf("escrow %s: %v", id, err)
	}
	checkEqual(t, "status of escrow "+id.String(), e.Status, want)
	return e
}

// checkLedger audits the whole ledger, which must have no findings.
func checkLedger(t *testing.T, l *Ledger) {
	t.Helper()
	report, err := l.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Errorf("verify ledger: %v", err)
		return
	}
	if !report.OK() {
		t.Errorf("verify ledger: got findings %+v, want none", report.Findings)
	}
}
