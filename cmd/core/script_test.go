package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/redroomrewards/realtime/internal/cli/clitest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	clitest.RunMain(m, "core", main)
}

func TestScripts(t *testing.T) {
	clitest.RunScripts(t, map[string]func(*testscript.TestScript, bool, []string){
		"listen":      openPort,
		"fill":        fillLedger,
		"tamper":      tamperLedger,
		"redis":       func(ts *testscript.TestScript, _ bool, _ []string) { setRedis(ts, t) },
		"streams":     func(ts *testscript.TestScript, _ bool, args []string) { publishLedger(ts, t, args[0]) },
		"deadletters": func(ts *testscript.TestScript, _ bool, args []string) { addDeadLetters(ts, t, args[0]) },
	})
}

// openPort listens on a port until the script ends and sets a variable to the address: listen NAME.
func openPort(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// fillLedger commits n credits of 1 to user:u1 and one hold: fill ledger.db 1500. The last credit and
// the hold have metadata.
func fillLedger(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	l, err := wallet.Open(context.Background(), "sqlite:"+ts.MkAbs(args[0]), wallet.Config{CommitTimeout: testTimeout})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()

	var errs []error
	for _, r := range l.DoBatch(ctx, scriptOperations(n)) {
		errs = append(errs, r.Err)
	}
	cancel()
	errs = append(errs, <-done, l.Close())
	ts.Check(errors.Join(errs...))
}

func scriptOperations(credits int) []wallet.Op {
	ops := make([]wallet.Op, credits, credits+1)
	for i := range ops {
		ops[i] = wallet.Op{
			Operation:      wallet.OpCredit,
			IdempotencyKey: fmt.Sprint("k", i),
			Account:        "user:u1",
			Amount:         1,
			Reason:         "admin_credit",
		}
	}
	ops[credits-1].Metadata = json.RawMessage(`{"a": "<&>"}`)
	return append(ops, wallet.Op{
		Operation:      wallet.OpHold,
		IdempotencyKey: "h",
		Account:        "user:u1",
		Amount:         1,
		Reason:         "chip_menu_purchase",
		QueueItemID:    `a "quoted", item`,
		FeatureType:    "f",
		Metadata:       json.RawMessage("{\"a\":\n1}"),
	})
}

// tamperLedger changes rows without the ledger: tamper ledger.db 'UPDATE …'.
func tamperLedger(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0])+"?_pragma=busy_timeout(300000)")
	ts.Check(err)
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(err)
}

// setRedis gives a script a namespace of its own in Redis: redis.
func setRedis(ts *testscript.TestScript, t *testing.T) {
	url, namespace := testenv.Redis(t)
	ts.Setenv("REDIS_URL", url)
	ts.Setenv("REALTIME_NAMESPACE", namespace)
}

// publishLedger publishes the events of user:u1 to a namespace of 4 partitions. It sets STREAMS to the
// URL of Redis and SPACE to the namespace: streams ledger.db.
func publishLedger(ts *testscript.TestScript, t *testing.T, file string) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	url, namespace := testenv.Redis(t)
	ts.Setenv("STREAMS", url)
	ts.Setenv("SPACE", namespace)
	rdb, err := redisconn.Open(url)
	ts.Check(err)
	defer func() { _ = rdb.Close() }()
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	ts.Check(redisconn.CheckLayout(ctx, rdb, keys))

	l, err := wallet.Open(ctx, "sqlite:"+ts.MkAbs(file), wallet.Config{CommitTimeout: testTimeout})
	ts.Check(err)
	defer func() { _ = l.Close() }()
	updates, err := l.UpdatesAfter(ctx, "user:u1", 0, 1000)
	ts.Check(err)
	pubs := make([]publish.Publication, len(updates))
	for i := range updates {
		pubs[i].Update = updates[i]
	}
	_, err = publish.New(rdb, publish.Config{Keys: keys}).Publish(ctx, pubs)
	ts.Check(err)
}

// addDeadLetters gives a script a namespace whose group has three dead letters, and the id of one:
// deadletters GROUP.
func addDeadLetters(ts *testscript.TestScript, t *testing.T, group string) {
	const partitions = 4
	url, namespace := testenv.Redis(t)
	ts.Setenv("REDIS_URL", url)
	ts.Setenv("REALTIME_NAMESPACE", namespace)
	ts.Setenv("REALTIME_PARTITIONS", strconv.Itoa(partitions))
	rdb, err := redisconn.Open(url)
	ts.Check(err)
	defer func() { _ = rdb.Close() }()

	keys := bus.Keys{Namespace: namespace, Partitions: partitions}
	b, err := consumer.New(rdb, bus.Config{
		Keys:        keys,
		Group:       group,
		Synchronous: true,
		Logger:      slog.New(slog.DiscardHandler),
	})
	ts.Check(err)
	fail := func(context.Context, *bus.Event) error {
		return bus.Permanent(errors.New("no such luck\nand more of it"))
	}
	_, err = b.Subscribe(bus.Subscription{ID: "s", Handler: bus.HandlerFunc(fail)})
	ts.Check(err)

	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	letter, err := publishFailing(ctx, rdb, keys, b)
	ts.Setenv("LETTER", letter)
	ts.Check(errors.Join(err, b.Close(ctx), <-ran))
}

// publishFailing publishes an entry that is not an event, and two events that the subscription
// fails to handle. It returns the id of an event's dead letter.
func publishFailing(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys, b *consumer.Bus) (letter string, err error) {
	err = rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Stream(0), Values: []string{"what", "ever"}}).Err()
	if err != nil {
		return "", err
	}
	for i := range 2 {
		_, err = b.Publish(ctx, bus.Event{
			Type:    "a",
			Account: fmt.Sprint("user:u", i),
			Data:    []byte(`{"n":1}`),
		})
		if err != nil {
			return "", err
		}
	}
	letters, err := b.DeadLetters().List(ctx, "", 10)
	for _, l := range letters {
		if l.Subscriber != "" {
			letter = l.ID
		}
	}
	return letter, err
}
