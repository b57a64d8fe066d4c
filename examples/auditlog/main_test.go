package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

const asProgram = "AUDITLOG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	redislog.Disable()
	// After many failed dials go-redis probes from a goroutine that sleeps for up to a second after its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// world is a Redis with the deliveries of a user and a model, and a file.
type world struct {
	t    *testing.T
	rdb  redis.UniversalClient
	keys bus.Keys
	file string
	args []string
	seq  int64 // of the last delivery of each of them
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, err := bus.OpenRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, rdb: rdb, keys: bus.Keys{Namespace: namespace, Partitions: 2}, file: filepath.Join(t.TempDir(), "audit.jsonl")}
	w.args = []string{"--redis-url", url, "--namespace", namespace, "--partitions", "2", "--file", w.file, "--http", "127.0.0.1:0"}
	return w
}

// settle publishes settlements: each is one event with two deliveries, the model's a copy.
func (w *world) settle(n int) {
	w.t.Helper()
	p := bus.NewPublisher(w.rdb, bus.PublisherConfig{Keys: w.keys})
	for range n {
		w.seq++
		var pubs []bus.Publication
		for _, account := range []string{"user:u", "model:m"} {
			pubs = append(pubs, bus.Publication{Group: bus.Group{
				Key: fmt.Sprint(account, w.seq), Account: account, Balance: bus.Balance{Account: account, Seq: w.seq},
				Deliveries: []bus.Delivery{{
					ID: fmt.Sprint("e", w.seq), Type: "wallet.escrow_settled", Account: account, Seq: w.seq, Amount: 7,
					Data: []byte(`{"amount": 7}`), Copy: account == "model:m",
				}},
			}})
		}
		if _, err := p.Publish(w.t.Context(), pubs); err != nil {
			w.t.Fatal(err)
		}
	}
}

// redeliver has the group get all that the streams hold once more.
func (w *world) redeliver() {
	w.t.Helper()
	for p := range w.keys.Partitions {
		if err := w.rdb.XGroupSetID(w.t.Context(), w.keys.Stream(p), "auditlog", "0").Err(); err != nil && !redis.HasErrorPrefix(err, "ERR The XGROUP subcommand requires the key to exist") {
			w.t.Fatal(err)
		}
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

// settled waits until the group is through with the streams.
func (w *world) settled() {
	w.t.Helper()
	w.until("the group is through", func() bool {
		left := int64(0)
		for p := range w.keys.Partitions {
			groups, err := w.rdb.XInfoGroups(w.t.Context(), w.keys.Stream(p)).Result()
			if err != nil || len(groups) != 1 {
				left++
				continue
			}
			last, err := w.rdb.XRevRangeN(w.t.Context(), w.keys.Stream(p), "+", "-", 1).Result()
			if err != nil || (len(last) > 0 && last[0].ID != groups[0].LastDeliveredID) {
				left++
			}
			left += groups[0].Pending
		}
		return left == 0
	})
}

// through runs the program until the group is through, and returns its exit code and what it logged.
func (w *world) through() (int, string) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		defer close(code)
		code <- run(ctx, w.args, os.Getenv, &stderr, &stderr)
	}()
	defer func() { // also when the test ends in between
		stop()
		<-code
	}()
	w.settled()
	stop()
	return <-code, stderr.String()
}

// check compares the file with what was published, in order of seq for each account.
func (w *world) check() {
	w.t.Helper()
	for _, account := range []string{"user:u", "model:m"} {
		var got, want strings.Builder
		for line := range strings.Lines(w.content()) {
			if strings.Contains(line, `"account":"`+account+`"`) {
				got.WriteString(line)
			}
		}
		for n := range w.seq {
			_, _ = fmt.Fprintf(&want, `{"account":"%s","seq":%d,"id":"e%[2]d","type":"wallet.escrow_settled","key":"%[1]s%[2]d","data":{"amount":7}}`+"\n", account, n+1)
		}
		if got.String() != want.String() {
			w.t.Fatalf("%s has\n%s\nwant\n%s", account, got.String(), want.String())
		}
	}
	if code := run(w.t.Context(), append(w.args, "--check"), os.Getenv, os.Stderr, os.Stderr); code != 0 {
		w.t.Fatalf("--check: exit code %d", code)
	}
}

func (w *world) content() string {
	w.t.Helper()
	content, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

func TestRedeliveryAndRestart(t *testing.T) {
	w := newWorld(t)
	w.settle(20)
	for range 2 {
		if code, logged := w.through(); code != 0 {
			t.Fatalf("exit code %d\n%s", code, logged)
		}
		w.check()
		// The power goes while a line is written, and the group gets all once more.
		if err := os.WriteFile(w.file, []byte(w.content()+`{"account":"user:u","se`), 0o600); err != nil {
			t.Fatal(err)
		}
		w.redeliver()
		w.settle(20)
	}
	if code, logged := w.through(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, logged)
	}
	w.check()
}

func TestKilled(t *testing.T) {
	w := newWorld(t)
	for round := range 4 {
		p := testenv.StartProcess(t, t.TempDir(), os.Args[0], w.args, []string{asProgram + "=1"})
		last := fmt.Sprintf(`"seq":%d,`, w.seq+1)
		w.settle(1)
		w.until("it writes", func() bool {
			content, err := os.ReadFile(w.file)
			return err == nil && strings.Contains(string(content), last)
		})
		w.settle(50 + 10*round) // it is killed while it writes some of these
		p.Kill()
	}
	w.settle(1)
	p := testenv.StartProcess(t, t.TempDir(), os.Args[0], w.args, []string{asProgram + "=1"})
	w.settled()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if p.ExitCode() != 0 {
		t.Fatalf("exit code %d\n%s", p.ExitCode(), p.Output())
	}
	w.check()
}

func TestHoleIsTold(t *testing.T) {
	w := newWorld(t)
	w.settle(9)
	stream := w.keys.Stream(w.keys.Partition("model:m"))
	entries, err := w.rdb.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var lost redis.XMessage
	for _, e := range entries {
		if e.Values["account"] == "model:m" && e.Values["seq"] == "4" {
			lost = e
		}
	}
	if n, err := w.rdb.XDel(t.Context(), stream, lost.ID).Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	code, logged := w.through()
	if code != exitMissing || !strings.Contains(logged, `"account":"model:m","from":4,"to":4`) {
		t.Fatalf("exit code %d\n%s", code, logged)
	}
	var out bytes.Buffer
	if code := run(t.Context(), append(w.args, "--check"), os.Getenv, &out, &out); code != exitMissing || !strings.Contains(out.String(), "model:m lacks seq 4 to 4") {
		t.Fatalf("--check: exit code %d, %s", code, out.String())
	}
	if code, _ := w.through(); code != exitMissing {
		t.Errorf("after a restart: exit code %d", code)
	}
	if err := w.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: lost.Values}).Err(); err != nil {
		t.Fatal(err)
	}
	if code, logged := w.through(); code != 0 {
		t.Errorf("after it came: exit code %d\n%s", code, logged)
	}
}

func TestFileIsNotShared(t *testing.T) {
	w := newWorld(t)
	f, err := openFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), w.args, os.Getenv, &out, &out); code != 1 || !strings.Contains(out.String(), "in use") {
		t.Errorf("a second process: exit code %d, %s", code, out.String())
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"no JSON": "x\n", "twice": strings.Repeat(`{"account":"a","seq":1,"data":{}}`+"\n", 2)} {
		if err := os.WriteFile(w.file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := run(t.Context(), w.args, os.Getenv, &out, &out); code != 1 {
			t.Errorf("a file with %s: exit code %d", name, code)
		}
		if w.content() != content {
			t.Errorf("a file with %s was changed", name)
		}
	}
}

// TestFailedDisk has writes fail, since the file is open for reading only: nobody is told that a line is on disk, not even who
// repeats it.
func TestFailedDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	f := &auditFile{file: file, track: tracker{accounts: map[string]*account{}}, open: newBatch()}
	for seq := range int64(3) {
		if _, err := f.append("user:u", max(1, seq), []byte("{}")); err == nil {
			t.Errorf("append %d: no error", seq) // the second is a repeat of what is not on disk
		}
	}
}
