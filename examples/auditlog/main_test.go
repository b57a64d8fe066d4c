package main

import (
	"context"
	"encoding/json"
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

// fixture has streams with the deliveries of a user and a model, and the file of the program.
type fixture struct {
	*exampletest.Streams
	t     *testing.T
	flags flags
	args  []string
	n     int // published settlements, and so the last seq of the user and of the model
}

func newFixture(t *testing.T) *fixture {
	t.Parallel()
	f := &fixture{Streams: exampletest.NewStreams(t, "auditlog"), t: t}
	f.flags = flags{
		RedisURL:   f.URL,
		Namespace:  f.Keys.Namespace,
		Partitions: f.Keys.Partitions,
		File:       filepath.Join(t.TempDir(), "audit.jsonl"),
	}
	f.args = append(f.Args(), "--file", f.flags.File)
	return f
}

// publishSettlements publishes n settlements. Each is one event with two deliveries: the user's,
// and the model's copy.
func (f *fixture) publishSettlements(n int) {
	f.t.Helper()
	for range n {
		f.n++
		f.Publish(bus.Event{
			ID:     fmt.Sprint("e", f.n),
			Type:   "wallet.escrow_settled",
			Amount: 7,
			Data:   []byte(`{"amount": 7}`),
		})
	}
}

// runUntilAcknowledged runs the program until its group has finished all events, and returns its error.
func (f *fixture) runUntilAcknowledged() error {
	f.t.Helper()
	return exampletest.RunDuring(f.t, func(ctx context.Context) error { return run(ctx, f.flags) }, f.WaitAcknowledged)
}

// wantAllRecords checks that the file has each published delivery once, in order of seq for each
// account.
func (f *fixture) wantAllRecords() {
	f.t.Helper()
	for _, account := range []string{"user:u", "model:m"} {
		var got, want strings.Builder
		for line := range strings.Lines(f.readFile()) {
			if strings.Contains(line, `"account":"`+account+`"`) {
				got.WriteString(line)
			}
		}
		for n := range f.n {
			const format = `{"account":"%s","seq":%d,"id":"e%[2]d","type":"wallet.escrow_settled","key":"%[1]s%[2]d","data":{"amount":7}}` + "\n"
			_, _ = fmt.Fprintf(&want, format, account, n+1)
		}
		if got.String() != want.String() {
			f.t.Fatalf("records of %s:\ngot\n%s\nwant\n%s", account, got.String(), want.String())
		}
	}
	if err := printHoles(f.t.Context(), f.flags); err != nil {
		f.t.Fatalf("--check: %v", err)
	}
}

func (f *fixture) readFile() string {
	f.t.Helper()
	content, err := os.ReadFile(f.flags.File)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(content)
}

func TestEachDeliveryIsWrittenOnceAfterRedeliveryAndRestart(t *testing.T) {
	f := newFixture(t)
	f.publishSettlements(20)
	for range 2 {
		if err := f.runUntilAcknowledged(); err != nil {
			t.Fatal(err)
		}
		f.wantAllRecords()

		// A power failure cuts a line off, and the group gets all events again.
		if err := os.WriteFile(f.flags.File, []byte(f.readFile()+`{"account":"user:u","se`), 0o600); err != nil {
			t.Fatal(err)
		}
		f.Redeliver()
		f.publishSettlements(20)
	}
	if err := f.runUntilAcknowledged(); err != nil {
		t.Fatal(err)
	}
	f.wantAllRecords()
}

func TestKilledProgramWritesEachDeliveryOnce(t *testing.T) {
	f := newFixture(t)
	for round := range 4 {
		p := exampletest.Start(t, f.args...)
		last := fmt.Sprintf(`"seq":%d,`, f.n+1)
		f.publishSettlements(1)
		exampletest.WaitUntil(t, "the program writes", func() bool {
			content, err := os.ReadFile(f.flags.File)
			return err == nil && strings.Contains(string(content), last)
		})
		f.publishSettlements(50 + 10*round) // the kill comes while the program writes some of these
		p.Kill()
	}
	f.publishSettlements(1)
	p := exampletest.Start(t, f.args...)
	f.WaitAcknowledged()
	p.Stop()
	f.wantAllRecords()
}

func TestHoleIsReportedUntilItIsFilled(t *testing.T) {
	f := newFixture(t)
	f.publishSettlements(9)
	stream := f.Keys.Stream(f.Keys.Partition("model:m"))
	deleted := f.deleteEntry(stream, "model:m", "4")

	p := exampletest.Start(t, f.args...)
	f.WaitAcknowledged()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if got := p.ExitCode(); got != 3 {
		t.Errorf("got exit code %d, want 3", got)
	}
	if want := "account=model:m from=4 to=4"; !strings.Contains(p.Output(), want) {
		t.Fatalf("got output\n%s\nwant %q in it", p.Output(), want)
	}

	p = exampletest.Start(t, append(f.args, "--check")...)
	<-p.Exited()
	if got := p.ExitCode(); got != 3 {
		t.Errorf("--check: got exit code %d, want 3", got)
	}
	if want := "model:m lacks seq 4 to 4\n2 accounts, 1 events missing\n"; !strings.Contains(p.Output(), want) {
		t.Fatalf("--check: got output\n%s\nwant %q in it", p.Output(), want)
	}

	f.Redeliver()
	if err := f.runUntilAcknowledged(); !errors.Is(err, errMissing) {
		t.Errorf("after a restart: got error %v, want %v", err, errMissing)
	}
	if err := f.Redis.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: deleted.Values}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.runUntilAcknowledged(); err != nil {
		t.Errorf("after the missing delivery arrived: got error %v, want none", err)
	}
}

// deleteEntry deletes the entry of one delivery from a stream.
func (f *fixture) deleteEntry(stream, account, seq string) redis.XMessage {
	f.t.Helper()
	entries, err := f.Redis.XRange(f.t.Context(), stream, "-", "+").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Values["account"] != account || e.Values["seq"] != seq {
			continue
		}
		if err := f.Redis.XDel(f.t.Context(), stream, e.ID).Err(); err != nil {
			f.t.Fatal(err)
		}
		return e
	}
	f.t.Fatalf("%s must have an entry with seq %s of %s", stream, seq, account)
	return redis.XMessage{}
}

func TestSecondProcessCannotOpenTheFile(t *testing.T) {
	f := newFixture(t)
	file, err := openAuditFile(f.flags.File)
	if err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), f.flags)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got error %v, want one that says \"in use\"", err)
	}
	if err := file.close(); err != nil {
		t.Fatal(err)
	}
}

func TestBrokenFileIsRefusedAndUnchanged(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content string
	}{
		{"no JSON", "x\n"},
		{"the same seq twice", strings.Repeat(`{"account":"a","seq":1,"data":{}}`+"\n", 2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			if err := os.WriteFile(f.flags.File, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), f.flags); err == nil {
				t.Error("got no error, want one")
			}
			if got := f.readFile(); got != tt.content {
				t.Errorf("got file %q, want it unchanged", got)
			}
		})
	}
}

// The file is open for reading only, so every write fails. Neither a new line nor its repeat may be
// reported as written, no event may be acknowledged, and the program must end.
func TestFailedWriteAcknowledgesNothing(t *testing.T) {
	f := newFixture(t)
	if err := os.WriteFile(f.flags.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(f.flags.File)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	file := &auditFile{file: opened, track: tracker{accounts: map[string]*account{}}, open: newBatch()}
	for i, seq := range []int64{1, 1, 2} { // the second call repeats a line that is not on disk
		if _, err := file.appendLine(&record{Account: "user:u", Seq: seq}, []byte("{}")); err == nil {
			t.Errorf("appendLine call %d: got no error, want one", i+1)
		}
	}

	b, err := consumer.New(f.Redis, bus.Config{Keys: f.Keys, Group: "auditlog", Copies: true, DrainTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := b.Subscribe(bus.Subscription{ID: "file", Handler: &auditor{file: file, stop: stop}}); err != nil {
		t.Fatal(err)
	}
	f.publishSettlements(1)
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	err = file.checkComplete()
	if !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EBADF) {
		t.Errorf("checkComplete: got error %v, want the write error", err)
	}

	pending := int64(0)
	for p := range f.Keys.Partitions {
		groups, err := f.Redis.XInfoGroups(t.Context(), f.Keys.Stream(p)).Result()
		if err != nil {
			t.Fatal(err)
		}
		pending += groups[0].Pending
	}
	if pending == 0 {
		t.Error("got 0 unacknowledged events, want some")
	}
	if read := f.CountRead(); pending != read {
		t.Errorf("got %d unacknowledged events, want all %d that were read", pending, read)
	}
}

// After a marker the account's events have their numbers again. A repeated marker changes nothing.
func TestFileObeysMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	records := []record{
		{Account: "user:u", Seq: 1, ID: "e1", Type: "t"},
		{Account: "user:u", Seq: 4, ID: "e4", Type: "t"}, // 2 and 3 are missing
		{Account: "user:u", Seq: 1, ID: "m", Type: bus.TypeHistoryChanged},
		{Account: "user:u", Seq: 2, ID: "e2", Type: "t"},
		{Account: "user:u", Seq: 1, ID: "m", Type: bus.TypeHistoryChanged},
		{Account: "user:u", Seq: 2, ID: "e2", Type: "t"},
		{Account: "user:u", Seq: 0, ID: "lost", Type: bus.TypeHistoryChanged},
		{Account: "user:u", Seq: 1, ID: "new", Type: "t"},
	}
	file, err := openAuditFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].Data = []byte("{}")
		line, err := json.Marshal(records[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.appendLine(&records[i], line); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.close(); err != nil {
		t.Fatal(err)
	}

	content, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	track, _, err := readRecords(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := track.checkComplete(); err != nil {
		t.Error(err)
	}
	if last := track.accounts["user:u"].last; last != 1 {
		t.Errorf("got last seq %d, want 1", last)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(written), "\n"); n != 6 {
		t.Errorf("got %d lines, want 6", n)
	}
}
