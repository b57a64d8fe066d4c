package wallet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// history is what a reader of all events has read.
type history map[string][]wallet.StreamEvent // by account

// addPage adds a page. Each event must be the next one of its account.
func (h history) addPage(t testing.TB, page wallet.EventPage) {
	t.Helper()
	for _, e := range page.Events {
		if want := int64(len(h[e.Account])) + 1; e.Seq != want {
			t.Fatalf("event of %s: got seq %d, want %d", e.Account, e.Seq, want)
		}
		h[e.Account] = append(h[e.Account], e)
	}
}

// readToEnd reads pages until there are no more, and returns the last cursor.
func (h history) readToEnd(t testing.TB, l *wallet.Ledger, cursor string, limit func() int) string {
	t.Helper()
	for {
		q := wallet.EventQuery{Cursor: cursor, Limit: limit()}
		page := mustReadAll(t, l, q)
		if len(page.Events) > q.Limit {
			t.Fatalf("got %d events, want at most %d", len(page.Events), q.Limit)
		}
		h.addPage(t, page)
		cursor = page.Next
		if !page.More {
			return cursor
		}
	}
}

func mustReadAll(t testing.TB, l *wallet.Ledger, q wallet.EventQuery) wallet.EventPage {
	t.Helper()
	page, err := readAllAgain(t.Context(), l, q)
	if err != nil {
		t.Fatalf("all events after %q: %v", q.Cursor, err)
	}
	return page
}

// checkComplete compares the history with the accounts' own events.
func (h history) checkComplete(t testing.TB, l *wallet.Ledger, accounts ...wallet.Account) {
	t.Helper()
	for _, a := range accounts {
		read := h[string(a)]
		after := int64(0)
		for {
			events, last, err := l.Events(t.Context(), a, after, 1000)
			if err != nil {
				t.Fatalf("events of %s: %v", a, err)
			}
			if last != int64(len(read)) {
				t.Fatalf("%s: got %d events, want %d", a, len(read), last)
			}
			for _, want := range events {
				got := read[want.Seq-1]
				if got.Chain != want.Chain || string(got.ForAccount()) != string(want.Event) {
					t.Fatalf("event %d of %s: got %s %s, want %s %s", want.Seq, a, got.Chain, got.ForAccount(), want.Chain, want.Event)
				}
				after = want.Seq
			}
			if after == last {
				break
			}
		}
	}
}

func always(n int) func() int { return func() int { return n } }

// journalRun does random operations on a few accounts with two ledgers at once.
type journalRun struct {
	ledgers  [2]*wallet.Ledger
	accounts []wallet.Account
}

// write does operations until the number is reached. Refusals do not matter.
func (r *journalRun) write(t *testing.T, name string, operations int) {
	var wg sync.WaitGroup
	for worker := range 8 {
		l := r.ledgers[worker%2]
		wg.Go(func() {
			for i := range operations / 8 {
				user := r.accounts[rand.IntN(4)] //nolint:gosec // any will do
				model := r.accounts[4+rand.IntN(2)]
				key := fmt.Sprint(name, "-", worker, "-", i)
				_, err := doAgain(t.Context(), l, newCredit(user, 10, key))
				if err != nil {
					t.Errorf("credit: %v", err)
					return
				}
				receipt, err := doAgain(t.Context(), l, newHold(user, 10, key))
				if err != nil {
					continue
				}
				_, err = doAgain(t.Context(), l, newSettle(receipt.EscrowID, model, 10, key))
				if err != nil {
					t.Errorf("settle: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// doAgain repeats an operation while the database cannot do it in time, as on a busy machine.
func doAgain(ctx context.Context, l *wallet.Ledger, op wallet.Op) (receipt wallet.Receipt, err error) {
	deadline := time.Now().Add(3 * time.Minute)
	for {
		receipt, err = l.Do(ctx, op)
		if !errors.Is(err, wallet.ErrUnavailable) || time.Now().After(deadline) {
			return receipt, err
		}
	}
}

var journalAccounts = []wallet.Account{"user:a", "user:b", "user:c", "user:d", "model:m", "model:n"}

// Two cores write the same accounts while readers follow with pages of random sizes.
func TestAllEventsAreCompleteBesideConcurrentWrites(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		r := journalRun{ledgers: openTwo(t, url), accounts: journalAccounts}
		written := make(chan struct{})
		go func() {
			defer close(written)
			r.write(t, "w", 80)
		}()
		var readers sync.WaitGroup
		for _, l := range r.ledgers {
			readers.Go(func() {
				h := history{}
				cursor := ""
				limit := func() int { return 1 + rand.IntN(30) } //nolint:gosec // any will do
				for isWritten := false; !isWritten; {
					select {
					case <-written:
						isWritten = true
					default:
					}
					cursor = h.readToEnd(t, l, cursor, limit)
				}
				cursor = h.readToEnd(t, l, cursor, limit)
				h.checkComplete(t, l, journalAccounts...)
				page := mustReadAll(t, l, wallet.EventQuery{Cursor: cursor})
				if page.Next != cursor || page.More || len(page.Events) > 0 {
					t.Errorf("at the end: got %d events, next %q, more %t; want none, the same cursor %q, false",
						len(page.Events), page.Next, page.More, cursor)
				}
			})
		}
		readers.Wait()
	})
}

// Pages of any sizes give the same events in the same order, whatever operations they are of.
func TestPagesOfAnySizeGiveTheSameOrder(t *testing.T) {
	t.Parallel()
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	for i := range 5 {
		key := fmt.Sprint(i)
		mustDo(t, l, newCredit("user:a", 30, key))
		var escrows [3]uuid.UUID
		for n := range escrows {
			escrows[n] = mustDo(t, l, newHold("user:a", 10, fmt.Sprint(key, "-", n))).EscrowID
		}
		mustDo(t, l, newSettle(escrows[0], "model:m", 10, key))
		mustDo(t, l, newRefund(escrows[1], 10, key))
		mustDo(t, l, newPartialSettle(escrows[2], "model:m", 4, 6, key))
	}
	whole := mustReadAll(t, l, wallet.EventQuery{Limit: 1000})
	rapid.Check(t, func(rt *rapid.T) {
		types := rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"none"}, eventTypes...)), 0, 3, rapid.ID).Draw(rt, "types")
		var want []wallet.StreamEvent
		for _, e := range whole.Events {
			if len(types) == 0 || slices.Contains(types, e.Type) {
				want = append(want, e)
			}
		}
		var got []wallet.StreamEvent
		page := wallet.EventPage{More: true}
		for page.More {
			limit := rapid.IntRange(1, 9).Draw(rt, "limit")
			page = mustReadAll(t, l, wallet.EventQuery{Cursor: page.Next, Limit: limit, Types: types})
			if len(page.Events) > limit {
				rt.Fatalf("got %d events, want at most %d", len(page.Events), limit)
			}
			got = append(got, page.Events...)
		}
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("got %d events, want these %d in this order: %v", len(got), len(want), want)
		}
		if page.Next != whole.Next {
			rt.Fatalf("got the last cursor %q, want %q", page.Next, whole.Next)
		}
	})
}

var eventTypes = []string{
	wallet.EventEscrowHeld, wallet.EventEscrowSettled, wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled, wallet.EventBalanceUpdated,
}

// A transaction takes a position and commits late. Readers stop before it, and get it later.
func TestReaderWaitsForARunningTransaction(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	l := wallettest.Open(t, url, wallet.Config{})
	db := openDatabase(t, url)
	mustDo(t, l, newCredit("user:a", 1, "c1"))
	late := mustDo(t, l, newCredit("user:b", 1, "c2"))
	begin := func() interface {
		Commit() error
		Rollback() error
	} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// The row has an earlier transaction once more, so that the test needs no other rows.
		_, err = tx.ExecContext(t.Context(), `INSERT INTO journal (transactions) VALUES (ARRAY[$1::uuid])`, late.TransactionID)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}

	running := begin()
	mustDo(t, l, newCredit("user:a", 1, "c3"))
	page := mustReadAll(t, l, wallet.EventQuery{})
	if len(page.Events) != 2 || !page.More {
		t.Fatalf("beside the running transaction: got %d events, more %t; want 2, true", len(page.Events), page.More)
	}
	err := running.Commit()
	if err != nil {
		t.Fatal(err)
	}
	page = mustReadAll(t, l, wallet.EventQuery{Cursor: page.Next})
	if len(page.Events) != 2 || page.Events[0].Account != "user:b" || page.Events[1].Account != "user:a" {
		t.Fatalf("after the commit: got %d events, want those of user:b and user:a", len(page.Events))
	}

	running = begin()
	mustDo(t, l, newCredit("user:a", 1, "c4"))
	err = running.Rollback()
	if err != nil {
		t.Fatal(err)
	}
	page = mustReadAll(t, l, wallet.EventQuery{Cursor: page.Next})
	if len(page.Events) != 1 || page.Events[0].Seq != 3 {
		t.Errorf("after the rollback: got %d events, want that of c4", len(page.Events))
	}
}

func TestAllEventsFilterByTimeAndType(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		empty := mustReadAll(t, l, wallet.EventQuery{From: time.Now()})
		if empty.Next != "0" || empty.More {
			t.Errorf("empty ledger: got next %q, more %t; want 0, false", empty.Next, empty.More)
		}
		mustDo(t, l, newCredit("user:a", 10, "c1"))
		escrow := mustDo(t, l, newHold("user:a", 10, "h1")).EscrowID
		mustDo(t, l, newSettle(escrow, "model:m", 10, "s1"))

		page := mustReadAll(t, l, wallet.EventQuery{Types: []string{wallet.EventEscrowSettled}})
		if len(page.Events) != 2 || page.Events[0].SecondParty || !page.Events[1].SecondParty {
			t.Fatalf("settlements: got %d events, want the delivery of the user and the copy of the model", len(page.Events))
		}
		if key := page.Events[0].Key; key == "" || key == page.Events[1].Key {
			t.Errorf("settlements: got key %q twice or empty", key)
		}
		if got := len(mustReadAll(t, l, wallet.EventQuery{From: time.Now().Add(-time.Hour)}).Events); got != 8 {
			t.Errorf("from an hour ago: got %d events, want 8", got)
		}
		later := mustReadAll(t, l, wallet.EventQuery{From: time.Now().Add(time.Hour)})
		if len(later.Events) != 0 || later.More {
			t.Errorf("from the future: got %d events, more %t; want 0, false", len(later.Events), later.More)
		}
		mustDo(t, l, newCredit("user:a", 10, "c2"))
		if got := len(mustReadAll(t, l, wallet.EventQuery{Cursor: later.Next}).Events); got != 1 {
			t.Errorf("after the future: got %d events, want the new one", got)
		}
		for _, cursor := range []string{"x", "1", "1.0.0", "01.0.0." + uuid.NewString(), "-1.0.0." + uuid.NewString(), "1.2000.0." + uuid.NewString()} {
			_, err := l.AllEvents(t.Context(), wallet.EventQuery{Cursor: cursor})
			checkError(t, "cursor "+cursor, err, wallet.ErrInvalid)
		}
	})
}

// A backup is restored. The reader is told, goes on, and gets all events that it does not have.
func TestReaderIsToldThatTheLedgerWentBack(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	l := wallettest.Open(t, url, wallet.Config{})
	mustDo(t, l, newCredit("user:a", 1, "c1"))
	backup := testenv.BackUpPostgres(t, url)
	common := mustReadAll(t, l, wallet.EventQuery{})
	for i := range 3 {
		mustDo(t, l, newCredit("user:a", 1, fmt.Sprint("void", i)))
	}
	void := mustReadAll(t, l, wallet.EventQuery{Cursor: common.Next, Limit: 2})
	backup.Restore()

	// The ledger has fewer transactions than the reader has seen, and then other ones.
	for _, key := range []string{"", "n1", "n2", "n3"} {
		if key != "" {
			mustDo(t, l, newCredit("user:a", 5, key))
		}
		_, err := readAllAgain(t.Context(), l, wallet.EventQuery{Cursor: void.Next})
		var changed *wallet.HistoryChangedError
		if !errors.As(err, &changed) {
			t.Fatalf("after %q: got error %v, want a HistoryChangedError", key, err)
		}
		if age := time.Since(changed.Since); age < 0 || age > time.Hour {
			t.Errorf("after %q: got since %s, want the time of the void events", key, changed.Since)
		}
		h := history{}
		h.readToEnd(t, l, changed.Next, always(100)) // the restored ledger is younger than the margin
		h.checkComplete(t, l, "user:a")
	}

	// A cursor in the common part stays valid.
	page := mustReadAll(t, l, wallet.EventQuery{Cursor: common.Next})
	if len(page.Events) != 3 || page.Events[0].Seq != 2 {
		t.Errorf("after the common part: got %d events, want 3", len(page.Events))
	}
}

// readAllAgain repeats a read while the connections to the database are lost.
func readAllAgain(ctx context.Context, l *wallet.Ledger, q wallet.EventQuery) (page wallet.EventPage, err error) {
	deadline := time.Now().Add(3 * time.Minute)
	for {
		page, err = l.AllEvents(ctx, q)
		if !errors.Is(err, wallet.ErrUnavailable) || time.Now().After(deadline) {
			return page, err
		}
	}
}
