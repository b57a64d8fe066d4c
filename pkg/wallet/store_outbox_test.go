package wallet

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// On Postgres a batch is one outbox row, which the relay sees as a row for each
// transaction; it goes with the last of them.
func TestOutboxRowOfABatch(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, testenv.Schema{Version: testenv.HashFS(t, migrations), Migrate: migrateForTest})
	l, err := Open(t.Context(), url, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := newCommitter(l, nil)
	for _, keys := range [][]string{{"a1", "a2", "a3"}, {"b1"}, {"c1", "c2"}} {
		var batch []*request
		for _, k := range keys {
			op := creditOf("user:"+Account(k), 1, k)
			r, err := newRequest(t.Context(), &op)
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, r)
		}
		c.commitBatch(batch)
	}
	// A row of a core that knows no batches, as the last.
	db := l.store.(*postgresStore).db
	if _, err := db.ExecContext(t.Context(), `INSERT INTO outbox (transaction_id) SELECT id FROM transactions WHERE user_account = 'user:b1'`); err != nil {
		t.Fatal(err)
	}

	pending := func(after int64, limit int) (accounts []string, ids []int64) {
		t.Helper()
		rows, err := l.Pending(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			accounts = append(accounts, r.Updates[0].Account[len("user:"):])
			ids = append(ids, r.ID)
		}
		return accounts, ids
	}
	rows := func() (n int) {
		t.Helper()
		if err := db.GetContext(t.Context(), &n, `SELECT count(*) FROM outbox`); err != nil {
			t.Fatal(err)
		}
		return n
	}
	backlog := func() int64 {
		t.Helper()
		n, oldest, err := l.Backlog(t.Context())
		if err != nil || (n > 0) != (time.Since(oldest) < time.Minute) {
			t.Fatalf("backlog %d, oldest %v (%v)", n, oldest, err)
		}
		return n
	}
	all := []string{"a1", "a2", "a3", "b1", "c1", "c2", "b1"}
	got, ids := pending(0, 100)
	if !slices.Equal(got, all) || !slices.IsSorted(ids) || rows() != 4 || backlog() != 7 {
		t.Fatalf("pending %v, ids %v, %d rows, backlog %d", got, ids, rows(), backlog())
	}
	// Pages of every size, from every place, are full until the end, without those places that are
	// published.
	pages := func(published ...int) {
		t.Helper()
		for limit := 1; limit <= len(all); limit++ {
			for from := range len(all) {
				after := int64(0)
				if from > 0 {
					after = ids[from-1]
				}
				var want []string
				for i := from; i < len(all) && len(want) < limit; i++ {
					if !slices.Contains(published, i) {
						want = append(want, all[i])
					}
				}
				if got, _ := pending(after, limit); !slices.Equal(got, want) {
					t.Errorf("%d after %d: %v, want %v", limit, from, got, want)
				}
			}
		}
	}
	pages()

	publish := func(places ...int) {
		t.Helper()
		var published []int64
		for _, p := range places {
			published = append(published, ids[p])
		}
		if err := l.Published(t.Context(), published); err != nil {
			t.Fatal(err)
		}
	}
	publish(0, 2, 2, 0) // a row of which one is left stays
	if rows() != 4 {
		t.Errorf("%d rows, want 4", rows())
	}
	pages(0, 2)
	publish(5)
	pages(0, 2, 5)
	another, err := Open(t.Context(), url, Config{}) // another core knows nothing of that
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = another.Close() }()
	if got, err := another.Pending(t.Context(), 0, 100); len(got) != len(all) || err != nil {
		t.Errorf("another core has %d pending (%v), want %d", len(got), err, len(all))
	}
	publish(1, 3)
	publish(5, 4)
	if got, _ := pending(0, 100); rows() != 1 || !slices.Equal(got, []string{"b1"}) || backlog() != 1 {
		t.Errorf("%d rows, pending %v", rows(), got)
	}
	publish(6, 0) // 0 is long gone
	if got, _ := pending(0, 100); len(got) != 0 || rows() != 0 || backlog() != 0 {
		t.Errorf("%d rows, pending %v", rows(), got)
	}
	// After a restart nothing is known of rows that were partly published.
	var o publishedRows
	if done := o.markPublished([]int64{outboxID(7, 1023, 1024)}); len(done) != 0 || len(o.rows) != 1 {
		t.Errorf("%v is done", done)
	}
	if done := o.markPublished(outboxIDs(7, 1024)); !slices.Equal(done, []int64{7}) || len(o.rows) != 0 {
		t.Errorf("%v is done, %d are remembered", done, len(o.rows))
	}
}

// A page looks at so many transactions and lists their accounts, each once, with
// what it has now.
func TestChangedSincePages(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		_, l := openFaulty(t, url)
		start := commitBatch(t, l, creditOf("user:before", 1, "0"))[0].receipt.Timestamp.Add(time.Millisecond)
		for time.Now().Before(start) { // times are whole milliseconds
			runtime.Gosched()
		}
		commitBatch(t, l, creditOf("user:a", 5, "1"), creditOf("user:b", 1, "2"), creditOf("user:a", 1, "3"))
		held := commitBatch(t, l, Op{Operation: OpHold, Account: "user:a", Amount: 5, Reason: "r", QueueItemID: "q", FeatureType: "f", IdempotencyKey: "4"})[0]
		commitBatch(t, l, Op{Operation: OpSettle, EscrowID: held.receipt.EscrowID, Model: "model:m", Amount: 5, Reason: "r", QueueItemID: "q", IdempotencyKey: "5"})
		var pages []map[string]int64
		for cursor := ""; ; {
			page, next, err := l.ChangedSince(t.Context(), start, cursor, 2)
			if err != nil {
				t.Fatal(err)
			}
			accounts := map[string]int64{}
			for _, p := range page {
				accounts[p.Account] = p.Seq
			}
			if len(accounts) != len(page) {
				t.Errorf("%v has an account twice", page)
			}
			pages = append(pages, accounts)
			if cursor = next; cursor == "" {
				break
			}
		}
		a := int64(2 + 3 + 2)
		want := []map[string]int64{{"user:a": a, "user:b": 1}, {"user:a": a}, {"user:a": a, "model:m": 2}}
		if !slices.EqualFunc(pages, want, maps.Equal) {
			t.Errorf("%v, want %v", pages, want)
		}
		if page, next, err := l.ChangedSince(t.Context(), time.Now().Add(time.Minute), "", 2); len(page) != 0 || next != "" || err != nil {
			t.Errorf("of the future: %v, %q, %v", page, next, err)
		}
		if _, _, err := l.ChangedSince(t.Context(), start, "user:a", 2); !errors.Is(err, ErrInvalid) {
			t.Errorf("a wrong cursor: %v", err)
		}
	})
}
