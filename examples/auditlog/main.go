// Command auditlog writes every delivery of every account to a file: one JSON object a
// line, appended and synced to disk before the event is acknowledged.
//
// It shows how a subscriber follows accounts, not the business: it asks the bus for
// Copies, since the second party's delivery has a seq of its own and leaving it out
// would be a hole; it trusts nothing but seq, so that a repeat is left out and a hole is
// told; and its consumer's name is always the same, so that after a crash it gets
// what it had not finished before anything newer.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/auditlog
//	tail -f auditlog.jsonl
//	go run ./examples/auditlog --check
//
// A hole is logged as an error, and makes the exit code 3 for as long as the file lacks
// what is missing. A deleted or trimmed entry does that, and so does a file that was begun
// after the streams had been trimmed. The core still has such events:
// GET /v1/accounts/{account}/events?after=<seq>.
//
// One process writes one file, and the group is its own: a second one on the same file is
// refused. At each start the whole file is read, which also checks it; a last line that a
// crash cut off is removed, since its event was not acknowledged and comes again. When
// the disk fails the program stops with exit code 1 and has acknowledged nothing that is not
// on disk. Events of other producers have no seq and are left out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// errMissing makes the exit code 3.
var errMissing = errors.New("the file lacks events")

type flags struct {
	RedisURL   string `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis that carries the events."`
	Namespace  string `env:"NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int    `env:"PARTITIONS" default:"16" help:"Event streams, as the core has them."`
	File       string `default:"auditlog.jsonl" help:"File to append to."`
	Check      bool   `help:"Read the file, say what it has and what it lacks, and stop."`
}

func main() {
	redislog.Disable() // its errors reach us
	var f flags
	kong.Parse(&f, kong.Description("Append every delivery of every account to a file. Exit code 3: the file lacks events."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	do := run
	if f.Check {
		do = check
	}
	if err := do(ctx, f); err != nil {
		slog.Error("auditlog ends", "error", err)
		if errors.Is(err, errMissing) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

// run follows the streams until ctx ends. The error is errMissing when the file lacks events then.
func run(ctx context.Context, f flags) (err error) {
	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	file, err := openFile(f.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { err = errors.Join(err, file.close()) }()
	b, err := consumer.New(rdb, bus.Config{
		Keys: bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions}, Group: "auditlog",
		Consumer:     "auditlog", // after a crash it gets its unfinished events before newer ones
		Copies:       true,
		Lanes:        256,             // as many lines may share a sync
		DrainTimeout: 3 * time.Second, // a failed disk holds the program up for as long
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if _, err := b.Subscribe(bus.Subscription{ID: "file", Handler: &auditor{file, stop}}); err != nil {
		return err
	}
	if err := b.Run(ctx); err != nil {
		return err
	}
	return file.state()
}

// check reads the file and prints what it has. The error is errMissing when it lacks events.
func check(_ context.Context, f flags) error {
	file, err := os.Open(f.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { _ = file.Close() }()
	track, _, err := read(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.File, err)
	}
	for name, a := range track.accounts {
		for _, h := range a.holes {
			fmt.Println(name, "lacks seq", h.from, "to", h.to)
		}
	}
	fmt.Println(len(track.accounts), "accounts,", track.missing, "events missing")
	return track.complete()
}

// auditor is the handler.
type auditor struct {
	file *auditFile
	stop context.CancelFunc // ends the program
}

// Handle implements bus.Handler.
func (a *auditor) Handle(ctx context.Context, e *bus.Event) error {
	if e.Seq == 0 {
		return nil // another producer's: no account's history has it
	}
	line, err := json.Marshal(record{Account: e.Account, Seq: e.Seq, ID: e.ID, Type: e.Type, Key: e.Key, Data: e.Data})
	if err != nil {
		return bus.Permanent(err)
	}
	hole, err := a.file.append(e.Account, e.Seq, line)
	if err != nil {
		a.stop()
		<-ctx.Done() // neither acknowledged nor tried again: the program ends
		return err
	}
	if hole.len() > 0 {
		slog.Error("events are missing", "account", e.Account, "from", hole.from, "to", hole.to)
	}
	return nil
}
