package coreapi_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// instantLedger answers without a commit, so that benchmarks measure only the handler.
type instantLedger struct{ *wallet.Ledger }

func (l instantLedger) DoBatch(ctx context.Context, ops []wallet.Op) []wallet.Result {
	results := make([]wallet.Result, len(ops))
	for i := range ops {
		results[i].Receipt, results[i].Err = l.Do(ctx, ops[i])
	}
	return results
}

func (instantLedger) Do(_ context.Context, op wallet.Op) (wallet.Receipt, error) {
	err := op.Validate()
	if err != nil {
		return wallet.Receipt{}, err
	}
	now := time.UnixMilli(1795460578123)
	return wallet.Receipt{
		TransactionID: uuid.UUID{1},
		Operation:     op.Operation,
		EscrowID:      uuid.UUID{2},
		Amount:        op.Amount,
		Timestamp:     now,
		Balances: []wallet.Balance{{
			Account:   string(op.Account),
			Available: 400,
			Escrow:    100,
			Seq:       4,
			UpdatedAt: now,
		}},
	}, nil
}

// discardWriter is a ResponseWriter that keeps only its header.
type discardWriter struct{ h http.Header }

func (d discardWriter) Header() http.Header       { return d.h }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(status int)      { _ = status }

func BenchmarkHold(b *testing.B) {
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	api := coreapi.New(instantLedger{}, v, coreapi.Config{Logger: slog.New(slog.DiscardHandler)})
	bearer := "Bearer " + signToken(b, "service", nil, allScopes)
	const body = `{"amount":100,"reason":"chip_menu_purchase","queueItemId":"queue-1","featureType":"chip_menu"}`
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		r := httptest.NewRequest(http.MethodPost, "/v1/accounts/user:u1/holds", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "key-"+strconv.Itoa(i))
		api.ServeHTTP(discardWriter{http.Header{}}, r)
	}
}

// BenchmarkBatch sends 1000 holds in a request. Its figures are for one hold.
func BenchmarkBatch(b *testing.B) {
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	api := coreapi.New(instantLedger{}, v, coreapi.Config{Logger: slog.New(slog.DiscardHandler)})
	bearer := "Bearer " + signToken(b, "service", nil, allScopes)
	const hold = `{"operation":"hold","idempotencyKey":"key-123456","account":"user:u1","amount":100,"reason":"chip_menu_purchase","queueItemId":"queue-1","featureType":"chip_menu"}`
	const n = 1000
	body := `{"operations":[` + strings.TrimSuffix(strings.Repeat(hold+",", n), ",") + `]}`
	b.ReportAllocs()
	for i := 0; i < b.N; i += n {
		r := httptest.NewRequest(http.MethodPost, "/v1/batch", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		r.Header.Set("Content-Type", "application/json")
		api.ServeHTTP(discardWriter{http.Header{}}, r)
	}
}

// BenchmarkBatchOnPostgres has four clients that send batches of 1000 credits to random accounts,
// without a network. Its figures are for one credit.
func BenchmarkBatchOnPostgres(b *testing.B) {
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	api := coreapi.New(wallettest.Open(b, ledgerdb.Postgres(b), wallet.Config{Logger: quiet}), v, coreapi.Config{Logger: quiet})
	bearer := "Bearer " + signToken(b, "service", nil, allScopes)
	const n = 1000
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for {
				first := next.Add(n) - n
				if first >= int64(b.N) {
					return nil
				}
				body := []byte(`{"operations":[`)
				for i := range int64(n) {
					body = fmt.Appendf(body, `{"operation":"credit","idempotencyKey":"k%d","account":"user:u%d","amount":1,"reason":"x"},`, first+i, rand.IntN(10000))
				}
				body = append(body[:len(body)-1], `]}`...)
				r := httptest.NewRequest(http.MethodPost, "/v1/batch", bytes.NewReader(body))
				r.Header.Set("Authorization", bearer)
				w := httptest.NewRecorder()
				api.ServeHTTP(w, r)
				if w.Code != http.StatusOK || bytes.Contains(w.Body.Bytes(), []byte(`"problem"`)) {
					return fmt.Errorf("%d %.200s", w.Code, w.Body)
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// BenchmarkRequest measures the part of BenchmarkHold that makes the requests.
func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/accounts/user:u1/holds", strings.NewReader("{}"))
		r.Header.Set("Authorization", "x")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "key")
	}
}
