//go:build unix

package testenv_test

import (
	"context"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// A commit waits for the standby, and is there after the primary's end and the standby's promotion.
// The old primary becomes a standby of the new one.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	primary := testenv.NewPostgresServer(t)
	link := testenv.NewProxy(t, primary.Addr())
	standby := primary.NewStandby(link.Addr())
	primary.RequireStandby()
	primary.Exec(`CREATE TABLE kept (n int)`)
	primary.Exec(`INSERT INTO kept VALUES (1)`)

	link.Refuse(true)
	link.Cut()
	expectNoCommit(t, primary.URL("postgres"))
	primary.Crash()
	standby.Promote()
	standby.Exec(`INSERT INTO kept VALUES (2)`)
	expectCount(t, standby.URL("postgres"), 2)

	link.SetTarget(standby.Addr())
	link.Refuse(false)
	primary.Rebuild(link.Addr())
	standby.RequireStandby()
	standby.Exec(`INSERT INTO kept VALUES (3)`)
	standby.Crash()
	primary.Promote()
	expectCount(t, primary.URL("postgres"), 3)
}

func TestPostgresServerCanBeSuspended(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgresServer(t)
	server.Suspend()
	answer := make(chan int, 1)
	go func() { answer <- count(t, server.URL("postgres"), `SELECT 1`) }()
	select {
	case <-answer:
		t.Error("a suspended server answered")
	case <-time.After(5 * silence):
	}
	server.Continue()
	if got := <-answer; got != 1 {
		t.Errorf("SELECT 1: got %d, want 1", got)
	}
	server.Stop()
	server.Start()
}

// expectNoCommit wants that a commit does not return while it waits for the standby.
func expectNoCommit(t *testing.T, url string) {
	t.Helper()
	db := openDatabase(t, url)
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = db.ExecContext(ctx, `INSERT INTO kept VALUES (99)`)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-done:
		t.Errorf("a commit returned without the standby, with error %v", err)
	case <-time.After(5 * silence):
	}
}

func expectCount(t *testing.T, url string, want int) {
	t.Helper()
	if got := count(t, url, `SELECT count(*) FROM kept`); got != want {
		t.Errorf("rows: got %d, want %d", got, want)
	}
}

// count returns the number that a query returns, or -1.
func count(t *testing.T, url, query string) int {
	t.Helper()
	var n int
	err := openDatabase(t, url).QueryRowContext(context.Background(), query).Scan(&n)
	if err != nil {
		return -1
	}
	return n
}
