package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	redislog "github.com/redis/go-redis/v9/logging"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

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

// fill puts n credits of 1 to user:u1, and one hold with metadata, into a ledger: fill ledger.db 1500.
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
	ops = append(ops, wallet.Op{Operation: wallet.OpHold, IdempotencyKey: "h", Account: "user:u1", Amount: 1, Reason: "chip_menu_purchase",
		QueueItemID: `a "quoted", item`, FeatureType: "f", Metadata: json.RawMessage("{\"a\":\n1}")})
	for _, r := range l.DoBatch(ctx, ops) {
		ts.Check(r.Err)
	}
	cancel()
	ts.Check(<-done)
	ts.Check(l.Close())
}

// tamper changes rows behind the ledger's back: tamper ledger.db 'UPDATE …'.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(err)
}
