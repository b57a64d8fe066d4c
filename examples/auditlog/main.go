// Command auditlog writes every delivery of every account to a file. Each line is one JSON object.
// The program appends and syncs the line before it acknowledges the event.
//
// It shows how a subscriber follows accounts:
//
//   - It asks the bus for the second party's copies. The second party's delivery has a seq of its
//     own, and without it the account's history would have a hole.
//   - It checks the seq of each delivery. It leaves out duplicates and reports holes.
//   - It obeys markers: after the ledger went back in time, the events of the account that follow a
//     marker (wallet.history_changed) have their numbers again. The void events stay in the file.
//   - It reads the history from the core, also the events that the streams do not have any more. So
//     the file is complete, whenever the program starts and however long it was away.
//   - It always uses the same consumer name. After a crash the bus first delivers the events that
//     were not finished, and then newer ones.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5                         # it prints TOKEN
//	REALTIME_CORE_TOKEN=$TOKEN go run ./examples/auditlog
//	tail -f auditlog.jsonl
//	go run ./examples/auditlog --check
//
// A hole is logged as an error. The exit code is 3 as long as the file has a hole. Without a token
// for the core there is a hole if a stream entry was deleted or trimmed, or if the streams were
// trimmed before the file was created. Start the program with a token, and it fills the holes.
//
// Only one process may write the file, and the consumer group belongs to the file. A second process
// with the same file exits with an error. At each start the program reads and checks the whole
// file. It removes a last line that a crash cut off, because that event was not acknowledged and
// comes again.
//
// If the disk fails, the program exits with code 1. It never acknowledges an event that is not on
// disk. Events of other producers have no seq. The program leaves them out.
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
	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/history"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/client"
)

// errMissing leads to exit code 3.
var errMissing = errors.New("the file lacks events")

type flags struct {
	RedisURL   string `name:"redis-url" env:"REALTIME_REDIS_URL,REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis server with the event streams."`
	Namespace  string `env:"REALTIME_NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int    `env:"REALTIME_PARTITIONS" default:"64" help:"Number of event streams, the same as in the core."`
	CoreURL    string `name:"core-url" default:"http://127.0.0.1:8080" help:"URL of the core, which has the events that the streams do not have any more."`
	CoreToken  string `name:"core-token" env:"REALTIME_CORE_TOKEN" help:"Token with the scope events:all. Without it the file has only what the streams have."`
	File       string `default:"auditlog.jsonl" help:"File to append to."`
	Check      bool   `help:"Read the file, print its accounts and its holes, and exit."`
}

func main() {
	redislog.Disable() // go-redis returns its errors to the caller as well
	var f flags
	kong.Parse(&f,
		kong.Description("Append every delivery of every account to a file. Exit code 3: the file lacks events."))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	do := run
	if f.Check {
		do = printHoles
	}

	err := do(ctx, f)
	if err == nil {
		return
	}

	slog.Error("auditlog failed", "error", err)
	if errors.Is(err, errMissing) {
		os.Exit(3)
	}

	os.Exit(1)
}

// run writes deliveries until ctx ends. The error wraps errMissing if the file lacks events then.
func run(ctx context.Context, f flags) (err error) {
	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	file, err := openAuditFile(f.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { err = errors.Join(err, file.close()) }()

	cfg := bus.Config{
		Keys:         bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions},
		Group:        group,
		Consumer:     "auditlog", // the same name after a crash: the unfinished events come first
		Copies:       true,
		Concurrency:  256,             // at most 256 lines share one sync
		DrainTimeout: 3 * time.Second, // a failed disk delays the exit by as long
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	subscription := bus.Subscription{ID: subscriptionID, Handler: &auditor{file: file, stop: stop}}
	if f.CoreToken == "" {
		slog.Warn("without --core-token the file has only the events that the streams have")
	} else {
		ledger, err := client.NewLedger(f.CoreURL, client.LedgerConfig{Token: client.StaticToken(f.CoreToken)})
		if err != nil {
			return err
		}
		defer ledger.Close()
		cfg.History = history.FromLedger(ledger)
		subscription.Since = bus.FromFirstEvent
		err = restartHistory(ctx, rdb, &cfg, file)
		if err != nil {
			return err
		}
	}

	b, err := consumer.New(rdb, cfg)
	if err != nil {
		return err
	}
	_, err = b.Subscribe(subscription)
	if err != nil {
		return err
	}

	err = b.Run(ctx)
	if err != nil {
		return err
	}
	return file.checkComplete()
}

const (
	group          = "auditlog"
	subscriptionID = "file"
)

// restartHistory makes the group read the whole history again if the file is new or lacks events.
// The position of the group is in Redis, which does not know about the file.
func restartHistory(ctx context.Context, rdb redis.UniversalClient, cfg *bus.Config, file *auditFile) error {
	if file.hasEvents() && file.checkComplete() == nil {
		return nil
	}

	copier, err := backfill.New(rdb, backfill.Config{
		Keys:    cfg.Keys,
		Group:   group,
		Name:    subscriptionID,
		History: cfg.History,
	})
	if err != nil {
		return err
	}
	for {
		err = copier.Restart(ctx, bus.FromFirstEvent)
		if !errors.Is(err, backfill.ErrLocked) {
			return err
		}
		select {
		case <-time.After(time.Second): // the lock of a program that was killed ends after 10 s
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printHoles reads the file and prints its holes. The error wraps errMissing if there is a hole.
func printHoles(_ context.Context, f flags) error {
	file, err := os.Open(f.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { _ = file.Close() }()
	track, _, err := readRecords(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.File, err)
	}

	for name, a := range track.accounts {
		for _, h := range a.holes {
			fmt.Println(name, "lacks seq", h.from, "to", h.to)
		}
	}

	fmt.Println(len(track.accounts), "accounts,", track.missing, "events missing")
	return track.checkComplete()
}

// auditor is the handler of the events.
type auditor struct {
	file *auditFile
	stop context.CancelFunc // ends the program
}

// Handle implements bus.Handler.
func (a *auditor) Handle(ctx context.Context, e *bus.Event) error {
	if e.Seq == 0 && e.Type != bus.TypeHistoryChanged {
		return nil // another producer's event: it belongs to no account's history
	}

	rec := record{
		Account: e.Account,
		Seq:     e.Seq,
		ID:      e.ID,
		Type:    e.Type,
		Key:     e.Key,
		Data:    e.Data,
	}

	line, err := json.Marshal(rec)
	if err != nil {
		return bus.Permanent(err)
	}

	hole, err := a.file.appendLine(&rec, line)
	if err != nil {
		a.stop()
		<-ctx.Done() // the program ends, so the event is neither acknowledged nor retried
		return err
	}
	if hole.size() > 0 {
		slog.Error("events are missing", "account", e.Account, "from", hole.from, "to", hole.to)
	}
	return nil
}
