package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestReplayContinuesItsFile(t *testing.T) {
	directory := t.TempDir()
	database := "sqlite:" + filepath.Join(directory, "ledger.db")
	code := run(t.Context(), []string{"migrate", "up", "--database-url", database}, nil, io.Discard, os.Stderr)
	if code != 0 {
		t.Fatalf("migrate: got exit code %d, want 0", code)
	}
	ledger := wallettest.Open(t, database, wallet.Config{})
	credit := func(key string) {
		t.Helper()
		op := wallet.Op{
			Operation:      wallet.OpCredit,
			IdempotencyKey: key,
			Account:        "user:u1",
			Amount:         1,
			Reason:         "x",
		}
		_, err := ledger.Do(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
	}

	file := filepath.Join(directory, "events.jsonl")
	replay := func(wantText string, wantLines int, flags ...string) {
		t.Helper()
		var output bytes.Buffer
		args := append([]string{"replay", "--database-url", database, "--output", file}, flags...)
		code := run(context.Background(), args, nil, &output, os.Stderr)
		if code != 0 {
			t.Fatalf("%v: got exit code %d, want 0", args, code)
		}
		if !strings.HasPrefix(output.String(), wantText) {
			t.Errorf("output: got %q, want %q", output.String(), wantText)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(content, []byte("\n"))
		if lines != wantLines || !bytes.HasSuffix(content, []byte("}\n")) {
			t.Errorf("file: got %d lines, want %d complete ones: %s", lines, wantLines, content)
		}
	}

	credit("k1")
	credit("k2")
	replay("2 events were written", 2)
	replay("0 events were added", 2)

	credit("k3")
	cutOff := []byte(`{"id":"cut o`) // by a kill of an earlier replay
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(file, append(content, cutOff...), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	replay("1 events were added", 3)
	replay("3 events were written", 3, "--restart")
}
