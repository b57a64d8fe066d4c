package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

const asProgram = "ANALYTICS_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	redislog.Disable()
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// world is a Redis with events and a program that counts them.
type world struct {
	t    *testing.T
	rdb  redis.UniversalClient
	keys bus.Keys
	http string
	args []string
	seq  int64 // of user:u's last event
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, err := bus.OpenRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, rdb: rdb, keys: bus.Keys{Namespace: namespace, Partitions: 1}, http: testenv.FreeAddr(t)}
	w.args = []string{
		"--redis-url", url, "--namespace", namespace, "--partitions", "1",
		"--file", filepath.Join(t.TempDir(), "analytics.db"), "--http", w.http,
	}
	return w
}

// publish publishes an event of user:u, and its copy of model:m when it is a settlement.
func (w *world) publish(id, kind, feature string, amount int64, at time.Time) {
	w.t.Helper()
	w.seq++
	deliver := func(account string) bus.Publication {
		return bus.Publication{Group: bus.Group{
			Key: id + account, Account: account, Balance: bus.Balance{Account: account, Seq: w.seq},
			Deliveries: []bus.Delivery{{
				ID: id, Type: kind, Account: account, Seq: w.seq, Amount: amount, Reason: "r", Feature: feature,
				Data: fmt.Appendf(nil, `{"timestamp":%q}`, at.UTC().Format(bus.TimeFormat)), Copy: account != "user:u",
			}},
		}}
	}
	pubs := []bus.Publication{deliver("user:u")}
	if kind == "wallet.escrow_settled" {
		pubs = append(pubs, deliver("model:"+id))
		pubs[1].Group.Deliveries[0].Seq, pubs[1].Group.Balance.Seq = 1, 1
	}
	outcomes, err := bus.NewPublisher(w.rdb, bus.PublisherConfig{Keys: w.keys}).Publish(w.t.Context(), pubs)
	if err != nil || slices.ContainsFunc(outcomes, func(o bus.Outcome) bool { return o.Status != bus.Published }) {
		w.t.Fatal(outcomes, err)
	}
}

// read tells how many entries the group was given.
func (w *world) read() int64 {
	groups, err := w.rdb.XInfoGroups(w.t.Context(), w.keys.Stream(0)).Result()
	if err != nil || len(groups) == 0 {
		return 0
	}
	return groups[0].EntriesRead
}

// redeliver has the group get all that the stream holds once more.
func (w *world) redeliver() {
	w.t.Helper()
	if err := w.rdb.XGroupSetID(w.t.Context(), w.keys.Stream(0), "analytics", "0").Err(); err != nil {
		w.t.Fatal(err)
	}
}

// until polls a condition that nothing signals.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			w.t.Fatal("waited in vain until ", what)
		}
	}
}

// settled waits until the group is through with the stream.
func (w *world) settled() {
	w.t.Helper()
	w.until("the group is through", func() bool {
		groups, err := w.rdb.XInfoGroups(w.t.Context(), w.keys.Stream(0)).Result()
		if err != nil || len(groups) != 1 || groups[0].Pending > 0 {
			return false
		}
		last, err := w.rdb.XRevRangeN(w.t.Context(), w.keys.Stream(0), "+", "-", 1).Result()
		return err == nil && last[0].ID == groups[0].LastDeliveredID
	})
}

// run runs the program while f does something.
func (w *world) run(f func()) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		defer close(code)
		code <- run(ctx, w.args, os.Getenv, &stderr, &stderr)
	}()
	defer func() { // also when f ends the test
		stop()
		<-code
	}()
	f()
	stop()
	if c := <-code; c != 0 {
		w.t.Fatalf("exit code %d\n%s", c, stderr.String())
	}
}

// get asks the program.
func (w *world) get(query string) (status int, rows []row) {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.http+"/minutes?"+query, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body struct {
		Minutes []row
		More    bool
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || body.More {
		w.t.Fatal(body, err)
	}
	return response.StatusCode, body.Minutes
}

func (w *world) expect(query string, want ...row) {
	w.t.Helper()
	if status, rows := w.get(query); status != http.StatusOK || !slices.Equal(rows, want) {
		w.t.Fatalf("%s: status %d\ngot  %v\nwant %v", query, status, rows, want)
	}
}

func TestCountsOnce(t *testing.T) {
	w := newWorld(t)
	second := time.Now().UTC().Truncate(time.Minute)
	first := second.Add(-time.Minute)
	w.publish("h1", "wallet.escrow_held", "wheel", 10, first)
	w.publish("h2", "wallet.escrow_held", "wheel", 5, first.Add(59*time.Second))
	w.publish("h3", "wallet.escrow_held", "", 1, first)
	w.publish("s1", "wallet.escrow_settled", "", 10, second)
	w.publish("o", "shop.opened", "", 10, second) // not the ledger's
	held := []row{{first, "wallet.escrow_held", "r", "", 1, 1}, {first, "wallet.escrow_held", "r", "wheel", 2, 15}}
	settled := row{second, "wallet.escrow_settled", "r", "", 1, 10}
	for range 3 { // each time it gets everything again, in a new process and in a running one
		w.run(func() {
			w.settled()
			w.redeliver()
			w.settled()
			w.expect("", append(held, settled)...)
			w.expect("type=wallet.escrow_settled", settled)
			w.expect("to="+second.Format(time.RFC3339), held...)
			w.expect("from="+second.Format(time.RFC3339), settled)
			if status, _ := w.get("from=yesterday"); status != http.StatusBadRequest {
				t.Errorf("a time that is none: status %d", status)
			}
		})
		w.redeliver()
	}
}

// TestKilled kills the program while it counts.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	at := time.Now().UTC().Truncate(time.Minute)
	for round := range 4 {
		p := testenv.StartProcess(t, t.TempDir(), os.Args[0], w.args, []string{asProgram + "=1"})
		read := w.read()
		w.publish(fmt.Sprint(round), "wallet.escrow_held", "", 2, at)
		w.until("it reads", func() bool { return w.read() > read })
		for n := range 40 + 10*round { // it is killed while it counts some of these
			w.publish(fmt.Sprintf("%d-%d", round, n), "wallet.escrow_held", "", 2, at)
		}
		p.Kill()
	}
	w.redeliver() // rather than wait until what the dead ones had may be taken over
	p := testenv.StartProcess(t, t.TempDir(), os.Args[0], w.args, []string{asProgram + "=1"})
	w.until("it answers", func() bool {
		conn, err := net.DialTimeout("tcp", w.http, time.Second)
		return err == nil && conn.Close() == nil
	})
	var rows []row
	w.until("all are counted", func() bool {
		_, rows = w.get("")
		return len(rows) == 1 && rows[0].Events >= w.seq
	})
	w.expect("", row{at, "wallet.escrow_held", "r", "", w.seq, 2 * w.seq})
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if p.ExitCode() != 0 {
		t.Fatalf("exit code %d\n%s", p.ExitCode(), p.Output())
	}
}

// TestForgottenIDs wants an event whose id may be forgotten as a dead letter, and its count left alone.
func TestForgottenIDs(t *testing.T) {
	w := newWorld(t)
	w.args = append(w.args, "--remember", "2h")
	now := time.Now().UTC().Truncate(time.Minute)
	w.publish("old", "wallet.escrow_held", "", 1, now.Add(-3*time.Hour))
	w.publish("new", "wallet.escrow_held", "", 1, now)
	w.run(func() {
		w.settled()
		w.expect("from=2020-01-01T00:00:00Z", row{now, "wallet.escrow_held", "r", "", 1, 1})
	})
	letters, err := bus.OpenDeadLetters(w.rdb, w.keys, "analytics").List(t.Context(), "", 10)
	if err != nil || len(letters) != 1 || letters[0].Event.ID != "old" {
		t.Errorf("dead letters %+v, %v", letters, err)
	}

	c, err := openCounts(t.Context(), filepath.Join(t.TempDir(), "counts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.db.Close() }()
	for _, want := range []bool{true, false} {
		if fresh, err := c.add(t.Context(), event{id: "e", kind: "k", points: 3, at: now}); fresh != want || err != nil {
			t.Fatal(fresh, err)
		}
	}
	if err := c.forget(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	rows, err := c.list(t.Context(), now, now.Add(time.Minute), "", 10)
	if err != nil || !slices.Equal(rows, []row{{now, "k", "", "", 1, 3}}) {
		t.Errorf("after the ids were dropped: %v, %v", rows, err)
	}
	var ids int
	if err := c.db.QueryRowContext(t.Context(), "SELECT count(*) FROM events").Scan(&ids); ids != 0 || err != nil {
		t.Errorf("%d ids, %v", ids, err)
	}
}
