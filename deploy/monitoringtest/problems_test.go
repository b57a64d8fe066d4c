package monitoringtest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// findStream returns the key of the stream that has the events of user:u1.
func (in *installation) findStream() string {
	in.Helper()
	balance := in.redisCLI("--scan", "--pattern", "rt:*:balance:user:u1")
	prefix, _, isFound := strings.Cut(strings.Trim(balance, `"`), ":balance:")
	if !isFound {
		in.Fatalf("got the keys %q, want one", balance)
	}
	return prefix + ":events"
}

// countBalances returns the number of balances in Redis whose accounts match a pattern.
func (in *installation) countBalances(pattern string) int {
	in.Helper()
	return len(strings.Fields(in.redisCLI("--scan", "--pattern", "rt:*:balance:"+pattern)))
}

// creditMany credits so many accounts at once: user:NAME0, user:NAME1 …
func (in *installation) creditMany(name string, n int) {
	in.Helper()
	var operations []string
	for i := range n {
		in.keys++
		operations = append(operations, fmt.Sprintf(
			`{"operation":"credit","idempotencyKey":"many-%d","account":"user:%s%d","amount":5,"reason":"some_reason"}`, in.keys, name, i))
	}
	in.post(http.StatusOK, "/v1/batch", `{"operations":[`+strings.Join(operations, ",")+`]}`)
}

// backUpLedger copies the ledger. The returned function puts the copy in place. Both kill the core
// and start it again.
func (in *installation) backUpLedger() (restore func()) {
	in.Helper()
	ledger := filepath.Join(in.directory, "ledger.db")
	backup := filepath.Join(in.directory, "backup.db")
	copyWhileStopped := func(from, to string) {
		in.Helper()
		in.core.process.Kill()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			in.copyFile(from+suffix, to+suffix)
		}
		in.startCore()
		in.waitUntil("the core runs again", func() bool { return in.isReady(in.core) })
	}
	copyWhileStopped(ledger, backup)
	return func() {
		in.Helper()
		copyWhileStopped(backup, ledger)
	}
}

// copyFile copies a file, or removes the target if there is no such file.
func (in *installation) copyFile(from, to string) {
	in.Helper()
	content, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(to) // it may not exist
		return
	}
	if err != nil {
		in.Fatal(err)
	}
	err = os.WriteFile(to, content, 0o600)
	if err != nil {
		in.Fatal(err)
	}
}

// startGatewayWithFewFiles starts a second gateway, which can open few files and fetch no keys.
func (in *installation) startGatewayWithFewFiles() *target {
	in.Helper()
	g := in.startGateway("/bin/sh", "-c", `ulimit -n 64; exec ./gateway "$@" --jwks-url http://127.0.0.1:1/keys`, "gateway")
	in.targets = append(in.targets, g)
	return g
}

// connect opens some connections, which stay open until the test ends or the gateway closes them.
func (in *installation) connect(g *target) {
	in.Helper()
	for range 32 {
		conn, err := net.DialTimeout("tcp", g.http, patience)
		if err != nil {
			return // the gateway does not listen yet
		}
		in.Cleanup(func() { _ = conn.Close() })
	}
}
