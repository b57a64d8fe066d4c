package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// leakChecked runs the tests and then looks for goroutines they left behind.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	redislog.Disable()
	testscript.Main(leakChecked{m}, map[string]func(){"core": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":   exitCode,
			"listen": listenOn,
			"fill":   fill,
			"tamper": tamper,

			"deadletters": func(ts *testscript.TestScript, _ bool, args []string) { deadLetters(ts, t, args[0]) },
		},
	})
}

// exitCode runs a command and wants its exit code: exit 2 core serve.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v: %v", args, err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// listenOn takes a port until the script ends and sets a variable to its address.
func listenOn(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// fill puts n credits of 1 to user:u1, the last with metadata, and one hold with metadata, into a ledger: fill ledger.db 1500.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	l, err := wallet.Open(context.Background(), "sqlite:"+ts.MkAbs(args[0]), wallet.Config{})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	ops := make([]wallet.Op, n, n+1)
	for i := range ops {
		ops[i] = wallet.Op{Operation: wallet.OpCredit, IdempotencyKey: fmt.Sprint("k", i), Account: "user:u1", Amount: 1, Reason: "admin_credit"}
	}
	ops[n-1].Metadata = json.RawMessage(`{"a": "<&>"}`)
	ops = append(ops, wallet.Op{Operation: wallet.OpHold, IdempotencyKey: "h", Account: "user:u1", Amount: 1, Reason: "chip_menu_purchase",
		QueueItemID: `a "quoted", item`, FeatureType: "f", Metadata: json.RawMessage("{\"a\":\n1}")})
	var errs []error
	for _, r := range l.DoBatch(ctx, ops) {
		errs = append(errs, r.Err)
	}
	cancel()
	ts.Check(errors.Join(append(errs, <-done, l.Close())...))
}

// tamper changes rows behind the ledger's back: tamper ledger.db 'UPDATE …'.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(err)
}

// deadLetters gives a script a namespace whose group has three dead letters, and one's id: deadletters GROUP.
func deadLetters(ts *testscript.TestScript, t *testing.T, group string) {
	url, namespace := testenv.Redis(t)
	ts.Setenv("REDIS_URL", url)
	ts.Setenv("NAMESPACE", namespace)
	ts.Setenv("PARTITIONS", "4")
	rdb, err := redisconn.Open(url)
	ts.Check(err)
	defer func() { _ = rdb.Close() }()
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	b, err := consumer.New(rdb, bus.Config{Keys: keys, Group: group, Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	_, err = b.Subscribe(bus.Subscription{ID: "s", Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
		return bus.Permanent(errors.New("no such luck\nand more of it"))
	})})
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	fail := func() error {
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Stream(0), Values: []string{"what", "ever"}}).Err(); err != nil {
			return err
		}
		for i := range 2 {
			if _, err := b.Publish(ctx, bus.Event{Type: "a", Account: fmt.Sprint("user:u", i), Data: []byte(`{"n":1}`)}); err != nil {
				return err
			}
		}
		letters, err := b.DeadLetters().List(ctx, "", 10)
		for _, l := range letters {
			if l.Subscriber != "" {
				ts.Setenv("LETTER", l.ID)
			}
		}
		return err
	}
	ts.Check(errors.Join(fail(), b.Close(ctx), <-ran))
}
