package wallet

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"
)

// outboxFixture is a Postgres ledger with batches of different sizes in its outbox. A batch is one
// row of the outbox table. The relay sees it as a row for each transaction.
type outboxFixture struct {
	url      string
	ledger   *Ledger
	accounts []string // of the transactions in the outbox, in order
	ids      []int64  // the ids by which the relay knows the transactions
}

func newOutboxFixture(t *testing.T) *outboxFixture {
	t.Helper()
	url := newPostgresDatabase(t)
	_, l := openFaulty(t, url)
	for _, batch := range [][]string{{"a1", "a2", "a3"}, {"b1"}, {"c1", "c2"}} {
		ops := make([]Op, len(batch))
		for i, name := range batch {
			ops[i] = newCredit("user:"+Account(name), 1, name)
		}
		mustCommit(t, l, ops...)
	}
	// The last row is one of an older core, which knows no batches.
	execStatement(t, l, `INSERT INTO outbox (transaction_id) SELECT id FROM transactions WHERE user_account = 'user:b1'`)

	f := &outboxFixture{url: url, ledger: l}
	f.accounts, f.ids = f.listPending(t, 0, 100)
	return f
}

// listPending returns the accounts and ids of a page of the outbox.
func (f *outboxFixture) listPending(t *testing.T, after int64, limit int) (accounts []string, ids []int64) {
	t.Helper()
	rows, err := f.ledger.Pending(t.Context(), after, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		accounts = append(accounts, r.Updates[0].Account[len("user:"):])
		ids = append(ids, r.ID)
	}
	return accounts, ids
}

// markPublished marks the transactions at these places as published.
func (f *outboxFixture) markPublished(t *testing.T, places ...int) {
	t.Helper()
	published := make([]int64, len(places))
	for i, place := range places {
		published[i] = f.ids[place]
	}
	err := f.ledger.Published(t.Context(), published)
	if err != nil {
		t.Fatal(err)
	}
}

// checkRows compares the number of rows in the outbox table with the expected one.
func (f *outboxFixture) checkRows(t *testing.T, want int) {
	t.Helper()
	var got int
	err := f.ledger.store.sharedQueries().db.GetContext(t.Context(), &got, `SELECT count(*) FROM outbox`)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "rows in the outbox table", got, want)
}

// checkBacklog compares the number of pending transactions with the expected one.
func (f *outboxFixture) checkBacklog(t *testing.T, want int64) {
	t.Helper()
	got, oldest, err := f.ledger.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "backlog", got, want)
	isRecent := time.Since(oldest) < time.Minute
	checkEqual(t, "oldest transaction of the backlog is recent", isRecent, want > 0)
}

// checkPages reads a page of each size from each place. Each page is full unless the outbox ends,
// and has no transaction that is published.
func (f *outboxFixture) checkPages(t *testing.T, published ...int) {
	t.Helper()
	for limit := 1; limit <= len(f.accounts); limit++ {
		for from := range len(f.accounts) {
			after := int64(0)
			if from > 0 {
				after = f.ids[from-1]
			}
			var want []string
			for i := from; i < len(f.accounts) && len(want) < limit; i++ {
				if !slices.Contains(published, i) {
					want = append(want, f.accounts[i])
				}
			}
			got, _ := f.listPending(t, after, limit)
			if !slices.Equal(got, want) {
				t.Errorf("page of %d from place %d: got %v, want %v", limit, from, got, want)
			}
		}
	}
}

func TestOutboxListsEachTransactionOfABatch(t *testing.T) {
	t.Parallel()
	f := newOutboxFixture(t)
	if want := []string{"a1", "a2", "a3", "b1", "c1", "c2", "b1"}; !slices.Equal(f.accounts, want) {
		t.Errorf("pending accounts: got %v, want %v", f.accounts, want)
	}
	if !slices.IsSorted(f.ids) {
		t.Errorf("pending ids: got %v, want them sorted", f.ids)
	}
	f.checkRows(t, 4)
	f.checkBacklog(t, 7)
	f.checkPages(t)
}

func TestOutboxRowIsDeletedWithItsLastTransaction(t *testing.T) {
	t.Parallel()
	f := newOutboxFixture(t)
	f.markPublished(t, 0, 2, 2, 0)
	f.checkRows(t, 4) // place 1 of the first row is still pending
	f.checkPages(t, 0, 2)
	f.markPublished(t, 5)
	f.checkPages(t, 0, 2, 5)

	f.markPublished(t, 1, 3)
	f.markPublished(t, 5, 4)
	f.checkRows(t, 1)
	f.checkPages(t, 0, 1, 2, 3, 4, 5)
	f.checkBacklog(t, 1)

	f.markPublished(t, 6, 0) // place 0 was deleted before
	f.checkRows(t, 0)
	f.checkPages(t, 0, 1, 2, 3, 4, 5, 6)
	f.checkBacklog(t, 0)
}

// TestPartlyPublishedRowIsPendingForOtherCores: only the core that published a part of a row
// remembers it.
func TestPartlyPublishedRowIsPendingForOtherCores(t *testing.T) {
	t.Parallel()
	f := newOutboxFixture(t)
	f.markPublished(t, 0, 2, 5)
	other := openLedger(t, f.url, Config{})
	defer func() { _ = other.Close() }()
	rows, err := other.Pending(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "pending transactions of the other core", len(rows), len(f.accounts))
}

// TestPublishedRowsForgetCompleteRows marks the last transaction of a row first, as after a
// restart, then all of them.
func TestPublishedRowsForgetCompleteRows(t *testing.T) {
	t.Parallel()
	var p publishedRows
	done := p.markPublished(1, outboxIDs(1, 7, 1024)[1023:])
	checkEqual(t, "complete rows", len(done), 0)
	checkEqual(t, "remembered rows", len(p.rows), 1)

	done = p.markPublished(1, outboxIDs(1, 7, 1024))
	if want := []int64{7}; !slices.Equal(done, want) {
		t.Errorf("complete rows: got %v, want %v", done, want)
	}
	checkEqual(t, "remembered rows", len(p.rows), 0)
}

// TestChangedSinceListsEachAccountOfAPageOnce has pages of two transactions. A page lists the
// accounts of its transactions with their current seqs.
func TestChangedSinceListsEachAccountOfAPageOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		start := mustCommit(t, l, newCredit("user:before", 1, "0"))[0].Timestamp.Add(time.Millisecond)
		for time.Now().Before(start) { // a transaction's time has whole milliseconds
			runtime.Gosched()
		}
		mustCommit(t, l, newCredit("user:a", 5, "1"), newCredit("user:b", 1, "2"), newCredit("user:a", 1, "3"))
		held := mustCommit(t, l, newHold("user:a", 5, "4"))[0]
		mustCommit(t, l, newSettle(held.EscrowID, "model:m", 5, "5"))

		const seqOfA = 2 + 3 + 2
		want := []map[string]int64{
			{"user:a": seqOfA, "user:b": 1},
			{"user:a": seqOfA},
			{"user:a": seqOfA, "model:m": 2},
		}
		if got := pageThroughChanges(t, l, start, 2); !slices.EqualFunc(got, want, maps.Equal) {
			t.Errorf("pages: got %v, want %v", got, want)
		}

		page, next, err := l.ChangedSince(t.Context(), time.Now().Add(time.Minute), "", 2)
		checkError(t, "changes in the future", err, nil)
		checkEqual(t, "accounts in the future", len(page), 0)
		checkEqual(t, "cursor in the future", next, "")
		_, _, err = l.ChangedSince(t.Context(), start, "user:a", 2)
		checkError(t, "invalid cursor", err, ErrInvalid)
	})
}

// pageThroughChanges returns the accounts of each page with their seqs.
func pageThroughChanges(t *testing.T, l *Ledger, since time.Time, limit int) []map[string]int64 {
	t.Helper()
	var pages []map[string]int64
	cursor := ""
	for {
		page, next, err := l.ChangedSince(t.Context(), since, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		seqs := map[string]int64{}
		for _, p := range page {
			seqs[p.Account] = p.Seq
		}
		checkEqual(t, fmt.Sprint("different accounts of page ", len(pages)), len(seqs), len(page))
		pages = append(pages, seqs)
		if next == "" {
			return pages
		}
		cursor = next
	}
}
