package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// The ledger's files and exports can be read only by their owner.
func TestFilesArePrivate(t *testing.T) {
	directory := t.TempDir()
	database := "sqlite:" + filepath.Join(directory, "ledger.db")
	runCore := func(args ...string) {
		t.Helper()
		code := run(context.Background(), args, nil, io.Discard, os.Stderr)
		if code != 0 {
			t.Fatalf("%v: got exit code %d, want 0", args, code)
		}
	}
	runCore("migrate", "up", "--database-url", database)
	ledger := wallettest.Open(t, database, wallet.Config{})
	_, err := ledger.Do(t.Context(), wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: "k",
		Account:        "user:u1",
		Amount:         1,
		Reason:         "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	runCore("export", "--database-url", database, "--account", "user:u1", "--output", filepath.Join(directory, "u1.csv"))

	files, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: got mode %v, want 0600", file.Name(), info.Mode())
		}
	}
	if len(files) < 2 {
		t.Errorf("got %d files, want the ledger and the export", len(files))
	}
}

// A spreadsheet must not run a client's text as a formula.
func TestFormulasAreQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"queue-1":                   "queue-1",
		`=HYPERLINK("http://x";"")`: `'=HYPERLINK("http://x";"")`,
		"+1-2":                      "'+1-2",
		"-1+cmd|' /C calc'!A0":      "'-1+cmd|' /C calc'!A0",
		"@SUM(A1)":                  "'@SUM(A1)",
		"\t=1":                      "'\t=1",
		"\r=1":                      "'\r=1",
		"-5":                        "-5",
		"+3.25":                     "+3.25",
		"-":                         "'-",
	} {
		if got := quoteFormula(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
