package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// world is a Redis with the deliveries of a user and a model, and a file.
type world struct {
	*exampletest.Streams
	t     *testing.T
	flags flags
	args  []string
	n     int // settlements so far, and so the seq of the last delivery of each of them
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{Streams: exampletest.NewStreams(t, "auditlog"), t: t}
	w.flags = flags{RedisURL: w.URL, Namespace: w.Keys.Namespace, Partitions: w.Keys.Partitions, File: filepath.Join(t.TempDir(), "audit.jsonl")}
	w.args = append(w.Args(), "--file", w.flags.File)
	return w
}

// settle publishes settlements: each is one event with two deliveries, the model's a copy.
func (w *world) settle(n int) {
	w.t.Helper()
	for range n {
		w.n++
		w.Publish(bus.Event{ID: fmt.Sprint("e", w.n), Type: "wallet.escrow_settled", Amount: 7, Data: []byte(`{"amount": 7}`)})
	}
}

// through runs the program until the group is through, and returns its error.
func (w *world) through() error {
	w.t.Helper()
	return exampletest.While(w.t, func(ctx context.Context) error { return run(ctx, w.flags) }, w.Settled)
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
		for n := range w.n {
			_, _ = fmt.Fprintf(&want, `{"account":"%s","seq":%d,"id":"e%[2]d","type":"wallet.escrow_settled","key":"%[1]s%[2]d","data":{"amount":7}}`+"\n", account, n+1)
		}
		if got.String() != want.String() {
			w.t.Fatalf("%s has\n%s\nwant\n%s", account, got.String(), want.String())
		}
	}
	if err := check(w.t.Context(), w.flags); err != nil {
		w.t.Fatal("--check: ", err)
	}
}

func (w *world) content() string {
	w.t.Helper()
	content, err := os.ReadFile(w.flags.File)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

func TestRedeliveryAndRestart(t *testing.T) {
	w := newWorld(t)
	w.settle(20)
	for range 2 {
		if err := w.through(); err != nil {
			t.Fatal(err)
		}
		w.check()
		// The power goes while a line is written, and the group gets all once more.
		if err := os.WriteFile(w.flags.File, []byte(w.content()+`{"account":"user:u","se`), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Redeliver()
		w.settle(20)
	}
	if err := w.through(); err != nil {
		t.Fatal(err)
	}
	w.check()
}

func TestKilled(t *testing.T) {
	w := newWorld(t)
	for round := range 4 {
		p := exampletest.Start(t, w.args...)
		last := fmt.Sprintf(`"seq":%d,`, w.n+1)
		w.settle(1)
		exampletest.Until(t, "it writes", func() bool {
			content, err := os.ReadFile(w.flags.File)
			return err == nil && strings.Contains(string(content), last)
		})
		w.settle(50 + 10*round) // it is killed while it writes some of these
		p.Kill()
	}
	w.settle(1)
	p := exampletest.Start(t, w.args...)
	w.Settled()
	p.Stop()
	w.check()
}

func TestHoleIsTold(t *testing.T) {
	w := newWorld(t)
	w.settle(9)
	stream := w.Keys.Stream(w.Keys.Partition("model:m"))
	entries, err := w.Redis.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var lost redis.XMessage
	for _, e := range entries {
		if e.Values["account"] == "model:m" && e.Values["seq"] == "4" {
			lost = e
		}
	}
	if n, err := w.Redis.XDel(t.Context(), stream, lost.ID).Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	p := exampletest.Start(t, w.args...)
	w.Settled()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if p.ExitCode() != 3 || !strings.Contains(p.Output(), "account=model:m from=4 to=4") {
		t.Fatalf("exit code %d\n%s", p.ExitCode(), p.Output())
	}
	p = exampletest.Start(t, append(w.args, "--check")...)
	<-p.Exited()
	if p.ExitCode() != 3 || !strings.Contains(p.Output(), "model:m lacks seq 4 to 4\n2 accounts, 1 events missing\n") {
		t.Fatalf("--check: exit code %d\n%s", p.ExitCode(), p.Output())
	}
	w.Redeliver()
	if err := w.through(); !errors.Is(err, errMissing) {
		t.Errorf("after a restart: %v", err)
	}
	if err := w.Redis.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: lost.Values}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.through(); err != nil {
		t.Errorf("after it came: %v", err)
	}
}

func TestFileIsNotShared(t *testing.T) {
	w := newWorld(t)
	f, err := openFile(w.flags.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), w.flags); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second process: %v", err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"no JSON": "x\n", "twice": strings.Repeat(`{"account":"a","seq":1,"data":{}}`+"\n", 2)} {
		if err := os.WriteFile(w.flags.File, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), w.flags); err == nil {
			t.Errorf("a file with %s: no error", name)
		}
		if w.content() != content {
			t.Errorf("a file with %s was changed", name)
		}
	}
}

// TestFailedDisk has writes fail, since the file is open for reading only: nobody is told that a line is on disk, not even who
// repeats it, nothing is acknowledged, and the program ends.
func TestFailedDisk(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(w.flags.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(w.flags.File)
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
	b, err := consumer.New(w.Redis, bus.Config{Keys: w.Keys, Group: "auditlog", Copies: true, DrainTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := b.Subscribe(bus.Subscription{ID: "file", Handler: &auditor{f, stop}}); err != nil {
		t.Fatal(err)
	}
	w.settle(1)
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := f.state(); !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EBADF) {
		t.Errorf("the program ends with %v", err)
	}
	pending := int64(0)
	for p := range w.Keys.Partitions {
		groups, err := w.Redis.XInfoGroups(t.Context(), w.Keys.Stream(p)).Result()
		if err != nil {
			t.Fatal(err)
		}
		pending += groups[0].Pending
	}
	if read := w.Read(); pending == 0 || pending != read {
		t.Errorf("%d events were read, %d are not acknowledged", read, pending)
	}
}
