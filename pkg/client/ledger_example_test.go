package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/pkg/client"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// startExampleCore starts a core with an empty ledger. user:u1 gets points.
func startExampleCore(points int64) (coreURL, token string, stop func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "example-")
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	quiet := slog.New(slog.DiscardHandler)
	databaseURL := "sqlite:" + filepath.Join(dir, "ledger.db")
	_, err = wallet.Migrate(ctx, databaseURL)
	must(err)
	ledger, err := wallet.Open(ctx, databaseURL, wallet.Config{Logger: quiet})
	must(err)
	ended := make(chan error, 1)
	go func() { ended <- ledger.Run(ctx) }()
	_, err = ledger.Do(ctx, wallet.Op{
		Operation: wallet.OpCredit, Account: "user:u1", Amount: points, Reason: "promotional_award", IdempotencyKey: "start",
	})
	must(err)
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(coretest.Secret)})
	must(err)
	server := httptest.NewServer(coreapi.New(ledger, verifier, coreapi.Config{Logger: quiet}))
	token, err = auth.Sign([]byte(coretest.Secret), auth.Request{
		Subject: "backend",
		Scopes:  []string{auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead},
		TTL:     time.Hour,
	})
	must(err)
	return server.URL, token, func() {
		server.Close()
		cancel()
		must(<-ended)
		must(ledger.Close())
		must(os.RemoveAll(dir))
	}
}

func ExampleLedger_Hold() {
	coreURL, token, stop := startExampleCore(500)
	defer stop()
	ctx := context.Background()

	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(token)})
	if err != nil {
		panic(err)
	}
	defer ledger.Close()
	receipt, err := ledger.Hold(ctx, client.Hold{
		Account:        "user:u1",
		Amount:         100,
		Reason:         "chip_menu_purchase",
		QueueItemID:    "queue-1",
		FeatureType:    "chip_menu",
		IdempotencyKey: "order-4711-hold",
	})
	switch {
	case errors.Is(err, client.ErrInsufficientFunds):
		fmt.Println("not enough points")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("available:", receipt.Balances[0].Available, "held:", receipt.Balances[0].Escrow)
	}
	// Output: available: 400 held: 100
}

// A problem has more than a code.
func ExampleProblem() {
	coreURL, token, stop := startExampleCore(40)
	defer stop()
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(token)})
	if err != nil {
		panic(err)
	}
	defer ledger.Close()

	_, err = ledger.Debit(context.Background(), client.Debit{Account: "user:u1", Amount: 100, Reason: "payout"})
	var problem *client.Problem
	if errors.As(err, &problem) && problem.Code == client.ErrInsufficientFunds {
		fmt.Println("points that are missing:", problem.RequestedAmount-problem.AvailableBalance)
	}
	fmt.Println(err)
	// Output:
	// points that are missing: 60
	// client: debit on user:u1: insufficient_funds: user:u1 has 40 points, 100 were requested
}

func ExampleLedger_Batch() {
	coreURL, token, stop := startExampleCore(500)
	defer stop()
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(token)})
	if err != nil {
		panic(err)
	}
	defer ledger.Close()

	results, err := ledger.Batch(context.Background(), []client.Operation{
		client.Credit{Account: "user:u1", Amount: 50, Reason: "referral_bonus", IdempotencyKey: "bonus-1"},
		client.Debit{Account: "user:u1", Amount: 9999, Reason: "payout", IdempotencyKey: "payout-7"},
	})
	if err != nil {
		panic(err)
	}
	for i := range results {
		fmt.Println(results[i].Status, results[i].Err())
	}
	// Output:
	// 201 <nil>
	// 402 insufficient_funds: user:u1 has 550 points, 9999 were requested
}

// A sequence reads the pages as they are needed.
func ExampleLedger_Entries() {
	coreURL, token, stop := startExampleCore(500)
	defer stop()
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(token)})
	if err != nil {
		panic(err)
	}
	defer ledger.Close()

	for entry, err := range ledger.Entries(context.Background(), "user:u1", client.EntriesFilter{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(entry.Reason, entry.Amount)
	}
	// Output: promotional_award 500
}

// The documents show the code of ExampleLedger_Hold, so that it is code that runs.
func TestDocumentsShowExample(t *testing.T) {
	source, err := os.ReadFile("ledger_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../../docs/http-api.md", "../../README.md"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			document, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, found := strings.Cut(string(document), "```go\nledger, err")
			block, _, closed := strings.Cut(rest, "```")
			if !found || !closed {
				t.Fatal("the document must have a block of Go that begins with ledger, err")
			}
			for line := range strings.Lines("ledger, err" + block) {
				if !strings.Contains(string(source), "\t"+line) {
					t.Errorf("the example does not have the line %q", line)
				}
			}
		})
	}
}
