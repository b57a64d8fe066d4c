package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// seedHistory writes the history into a new ledger and returns it as text, without ids and times.
func seedHistory(t *testing.T) (history string, times []time.Time) {
	t.Helper()
	c := devCmd{Data: t.TempDir(), Seed: seedDemo}
	database, err := c.prepareLedger(t.Context(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.prepareLedger(t.Context(), io.Discard) // changes nothing
	if err != nil {
		t.Fatal(err)
	}
	l, err := wallet.Open(t.Context(), database, wallet.Config{OnlyRead: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("verify: got %+v and %v, want no findings", report, err)
	}

	var text strings.Builder
	for _, account := range append(seedUsers, seedModels...) {
		err = l.Export(t.Context(), account, wallet.EntryFilter{}, func(e *wallet.Entry) error {
			times = append(times, e.CreatedAt)
			_, err := fmt.Fprintln(&text, e.Account, e.Seq, e.Operation, e.State, e.BalanceAfter, e.Reason, string(e.Metadata))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return text.String(), times
}

// Each call writes the same history, which covers days and each operation.
func TestSeedIsTheSameEachTime(t *testing.T) {
	history, times := seedHistory(t)
	again, _ := seedHistory(t)
	if history != again {
		t.Errorf("got two different histories:\n%s\n%s", history, again)
	}
	for _, want := range []string{"credit", "debit", "hold", "settle", "partial_settle", "refund", `{"campaign":"welcome"`} {
		if !strings.Contains(history, " "+want+" ") && !strings.Contains(history, " "+want) {
			t.Errorf("got no %s in\n%s", want, history)
		}
	}
	oldest, newest := times[0], times[0]
	for _, at := range times {
		if at.Before(oldest) {
			oldest = at
		}
		if at.After(newest) {
			newest = at
		}
	}
	if newest.Sub(oldest) < 5*24*time.Hour || newest.After(time.Now()) {
		t.Errorf("got times from %s to %s, want days of the past", oldest, newest)
	}
}

// --reset deletes the ledger and nothing else, and not while another process uses it. The page is
// opened with the program of the system.
func TestDevResetSeedAndOpen(t *testing.T) {
	data := t.TempDir()
	own := filepath.Join(data, "own.txt")
	err := os.WriteFile(own, []byte("x"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	opened := filepath.Join(t.TempDir(), "opened")
	programs := t.TempDir()
	script := "#!/bin/sh\necho \"$1\" >" + opened + ".part && mv " + opened + ".part " + opened + "\n"
	err = os.WriteFile(filepath.Join(programs, "xdg-open"), []byte(script), 0o700) //nolint:gosec // a program
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))

	p := launchDev(t, data, "--open")
	page := p.greetingURL("Live page")
	var content []byte
	for deadline := time.Now().Add(testTimeout); len(content) == 0; {
		content, err = os.ReadFile(opened)
		if err != nil && time.Now().After(deadline) {
			t.Fatalf("the page was not opened within %s: %v", testTimeout, err)
		}
	}
	if got := strings.TrimSpace(string(content)); got != page {
		t.Errorf("opened page: got %s, want %s", got, page)
	}
	p.pasteCommands()
	core := strings.TrimSuffix(page, "/")
	header := http.Header{"Authorization": {"Bearer " + p.exportedVariable("TOKEN")}}
	for _, path := range []string{"/v1/accounts/user:alice/entries", "/v1/accounts/user:bob/escrows", "/v1/accounts/model:luna/balance"} {
		status, answer := p.request(http.MethodGet, core+path, header, "")
		if status != http.StatusOK {
			t.Errorf("GET %s: got %d %v, want 200", path, status, answer)
		}
	}
	p.out.awaitMatch(t, `user:carol .* escrow_refunded`) // the order that had expired
	second := launchCommand(t, "dev", "--data", data, "--reset", "--http", "127.0.0.1:0")
	if code := second.awaitExit(); code != 1 {
		t.Errorf("--reset beside another process: got exit code %d, want 1", code)
	}
	second.err.awaitMatch(t, `in use by process \d+, .* choose another directory with --data`)
	p.stop()

	t.Setenv("PATH", t.TempDir())
	p = launchDev(t, data, "--reset", "--seed", "none", "--open")
	p.out.awaitMatch(t, `^deleted .*ledger.db$`)
	p.out.awaitMatch(t, `^no browser was found; open http://127.0.0.1:\d+/$`)
	answers := p.pasteCommands()
	if got := answers[0]["availableBalance"]; got != 1000.0 {
		t.Errorf("available balance after --reset: got %v, want 1000", got)
	}
	core = strings.TrimSuffix(p.greetingURL("Live page"), "/")
	header = http.Header{"Authorization": {"Bearer " + p.exportedVariable("TOKEN")}}
	status, answer := p.request(http.MethodGet, core+"/v1/accounts/user:alice/balance", header, "")
	if status != http.StatusNotFound {
		t.Errorf("user:alice with --seed none: got %d %v, want 404", status, answer)
	}
	p.stop()
	_, err = os.Stat(own)
	if err != nil {
		t.Errorf("a file of the user: %v", err)
	}
}
