package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/pkg/client"
)

// The streams have none of the core's events, as after they were trimmed. The program is killed while
// it reads the history, and later its file loses lines. After each restart the file is complete.
func TestFileIsCompleteWithoutTheStreams(t *testing.T) {
	t.Parallel()
	streams := exampletest.NewStreams(t, group)
	coreURL := coretest.Start(t)
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(coretest.ServiceToken(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ledger.Close)
	const events = 600
	operations := make([]client.Operation, events)
	for i := range operations {
		operations[i] = client.Credit{Account: fmt.Sprint("user:u", i%3), Amount: 1, Reason: "admin_credit"}
	}
	results, err := ledger.Batch(t.Context(), operations)
	if err != nil || len(results) != events {
		t.Fatalf("write %d events: got %d results, %v", events, len(results), err)
	}

	token, err := auth.Sign([]byte(coretest.Secret), auth.Request{Subject: "audit", Scopes: []string{auth.ScopeEvents}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	args := append(streams.Args(), "--core-url", coreURL, "--core-token", token, "--file", path)
	countLines := func() int {
		content, err := os.ReadFile(path)
		if err != nil {
			return 0
		}
		return strings.Count(string(content), "\n")
	}
	waitForLines := func(n int) {
		t.Helper()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for start := time.Now(); countLines() < n; <-tick.C {
			if time.Since(start) > 3*time.Minute {
				t.Fatalf("got %d lines, want %d", countLines(), n)
			}
		}
	}

	p := exampletest.Start(t, args...)
	waitForLines(20)
	p.Kill()
	p = exampletest.Start(t, args...)
	waitForLines(events)
	p.Stop()
	checkFile(t, args, path, events)

	lines := strings.SplitAfter(string(mustReadFile(t, path)), "\n")
	err = os.WriteFile(path, []byte(strings.Join(append(lines[:100:100], lines[300:]...), "")), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p = exampletest.Start(t, args...)
	waitForLines(events)
	p.Stop()
	checkFile(t, args, path, events)
}

// checkFile runs the program with --check, which also refuses a file with a repeated event.
func checkFile(t *testing.T, args []string, path string, events int) {
	t.Helper()
	p := exampletest.Start(t, append(args, "--check")...)
	<-p.Exited()
	if want := "3 accounts, 0 events missing\n"; p.ExitCode() != 0 || !strings.Contains(p.Output(), want) {
		t.Fatalf("--check: got exit code %d and\n%s\nwant 0 and %q", p.ExitCode(), p.Output(), want)
	}
	if got := strings.Count(string(mustReadFile(t, path)), "\n"); got != events {
		t.Errorf("got %d lines, want %d", got, events)
	}
}

func mustReadFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
