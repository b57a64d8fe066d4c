package coreapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/token"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// instant answers at once, so that the benchmark sees the handler alone.
type instant struct{ *wallet.Ledger }

func (instant) Do(_ context.Context, op wallet.Op) (wallet.Receipt, error) {
	if err := op.Check(); err != nil {
		return wallet.Receipt{}, err
	}
	now := time.UnixMilli(1795460578123)
	return wallet.Receipt{
		TransactionID: uuid.UUID{1}, Operation: op.Operation, EscrowID: uuid.UUID{2}, Amount: op.Amount, Timestamp: now,
		Balances: []wallet.Balance{{Account: string(op.Account), Available: 400, Escrow: 100, Seq: 4, UpdatedAt: now}},
	}, nil
}

// discard is a ResponseWriter that keeps only its header.
type discard struct{ h http.Header }

func (d discard) Header() http.Header       { return d.h }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(status int)      { _ = status }

func BenchmarkHold(b *testing.B) {
	v, err := token.NewVerifier(token.Config{HS256Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	api := coreapi.New(instant{}, v, coreapi.Config{Logger: slog.New(slog.DiscardHandler)})
	bearer := "Bearer " + sign(b, "service", nil, allScopes)
	const body = `{"amount":100,"reason":"chip_menu_purchase","queueItemId":"queue-1","featureType":"chip_menu"}`
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		r := httptest.NewRequest(http.MethodPost, "/v1/accounts/user:u1/holds", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "key-"+strconv.Itoa(i))
		api.ServeHTTP(discard{http.Header{}}, r)
	}
}

// BenchmarkRequest is what BenchmarkHold spends on making its requests.
func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/accounts/user:u1/holds", strings.NewReader("{}"))
		r.Header.Set("Authorization", "x")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "key")
	}
}
