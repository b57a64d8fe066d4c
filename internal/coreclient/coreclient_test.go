package coreclient_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
	"github.com/redroomrewards/realtime/pkg/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ ws.History = (*coreclient.Client)(nil)

var secret = []byte("a-secret-of-tests-with-more-than-32-bytes")

// serveCore serves a real ledger and returns a client of it.
func serveCore(t *testing.T, scope string) (*wallet.Ledger, *coreclient.Client) {
	t.Helper()
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(coreapi.New(l, v, coreapi.Config{
		Timeout: 2 * time.Minute, // the machines of tests are often slow
		Logger:  slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(srv.Close)
	raw, err := auth.Sign(secret, auth.Request{Subject: "gateway", Scopes: []string{scope}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return l, newClient(t, srv.URL, raw)
}

func newClient(t *testing.T, url, raw string) *coreclient.Client {
	t.Helper()
	c, err := coreclient.New(url, raw, coreclient.Config{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// commitEveryOperation commits one transaction of each kind.
func commitEveryOperation(t *testing.T, l *wallet.Ledger) {
	t.Helper()
	n := 0
	commit := func(op wallet.Op) uuid.UUID {
		t.Helper()
		n++
		op.IdempotencyKey = fmt.Sprint("k", n)
		op.Reason = "some_reason"
		receipt, err := l.Do(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		return receipt.EscrowID
	}
	hold := wallet.Op{
		Operation:   wallet.OpHold,
		Account:     "user:u1",
		Amount:      100,
		QueueItemID: "q",
		FeatureType: "spin_wheel",
	}
	commit(wallet.Op{Operation: wallet.OpCredit, Account: "user:u1", Amount: 1000, Metadata: []byte(`{"a":{"amount":7}}`)})
	commit(wallet.Op{Operation: wallet.OpDebit, Account: "user:u1", Amount: 10})
	settled := commit(hold)
	refunded := commit(hold)
	split := commit(hold)
	commit(wallet.Op{
		Operation:   wallet.OpSettle,
		EscrowID:    settled,
		Model:       "model:m1",
		Amount:      100,
		QueueItemID: "q",
	})
	commit(wallet.Op{
		Operation:   wallet.OpRefund,
		EscrowID:    refunded,
		Amount:      100,
		QueueItemID: "q",
	})
	commit(wallet.Op{
		Operation:    wallet.OpPartialSettle,
		EscrowID:     split,
		Model:        "model:m1",
		RefundAmount: 30,
		SettleAmount: 70,
		QueueItemID:  "q",
	})
	commit(wallet.Op{Operation: wallet.OpDebit, Account: "model:m1", Amount: 5})
}

// Events from the core must equal the deliveries that are published to the streams.
func TestEventsEqualPublishedDeliveries(t *testing.T) {
	l, c := serveCore(t, auth.ScopeRead)
	commitEveryOperation(t, l)
	for _, account := range []string{"user:u1", "model:m1"} {
		t.Run(account, func(t *testing.T) {
			updates, err := l.UpdatesAfter(t.Context(), account, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			var published []bus.Delivery
			for _, update := range updates {
				published = append(published, update.Deliveries...)
			}
			for after := range len(published) {
				got, last, err := c.Events(t.Context(), account, int64(after), 1000)
				if err != nil {
					t.Fatalf("after %d: %v", after, err)
				}
				if last != int64(len(published)) {
					t.Errorf("after %d: got last %d, want %d", after, last, len(published))
				}
				compareDeliveries(t, got, published[after:])
			}
		})
	}
}

func compareDeliveries(t *testing.T, got, want []bus.Delivery) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
	for i := range want {
		if routedFields(&got[i]) != routedFields(&want[i]) {
			t.Errorf("event %d: got  %+v\nwant %+v", i, routedFields(&got[i]), routedFields(&want[i]))
		}
	}
}

// routedFields returns the fields of a delivery that the gateway uses.
func routedFields(d *bus.Delivery) any {
	return struct {
		id, eventType, account string
		seq, amount            int64
		chain                  bus.Chain
		reason, feature, view  string
	}{d.ID, d.Type, d.Account, d.Seq, d.Amount, d.Chain, d.Reason, d.Feature, string(d.ForAccount())}
}

func TestBalance(t *testing.T) {
	l, c := serveCore(t, auth.ScopeRead)
	commitEveryOperation(t, l)
	for _, account := range []wallet.Account{"user:u1", "model:m1"} {
		t.Run(string(account), func(t *testing.T) {
			balance, err := l.Balance(t.Context(), account)
			if err != nil {
				t.Fatal(err)
			}
			want := bus.Balance{
				Account:   string(account),
				Available: balance.Available,
				Escrow:    balance.Escrow,
				Earned:    balance.Earned,
				Seq:       balance.Seq,
				Chain:     balance.Chain,
				UpdatedAt: balance.UpdatedAt.UTC().Truncate(time.Millisecond),
			}
			got, ok, err := c.Balance(t.Context(), string(account))
			if err != nil {
				t.Fatal(err)
			}
			got.UpdatedAt = got.UpdatedAt.UTC()
			if !ok || got != want {
				t.Errorf("got %+v, ok %v, want %+v", got, ok, want)
			}
		})
	}
}

func TestUnknownAccount(t *testing.T) {
	_, c := serveCore(t, auth.ScopeRead)
	balance, ok, err := c.Balance(t.Context(), "user:nobody")
	if ok || err != nil {
		t.Errorf("Balance: got %+v, ok %v, error %v, want ok false", balance, ok, err)
	}

	events, last, err := c.Events(t.Context(), "user:nobody", 0, 10)
	if err != nil {
		t.Errorf("Events: %v", err)
	}
	if len(events) != 0 || last != 0 {
		t.Errorf("Events: got %v, last %d, want none", events, last)
	}

	err = c.Ping(t.Context())
	if err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func TestRefusedToken(t *testing.T) {
	_, c := serveCore(t, auth.ScopeHold)
	err := c.Ping(t.Context())
	if !errors.Is(err, coreclient.ErrRefused) {
		t.Errorf("got error %v, want ErrRefused", err)
	}
}

// Answers of another server must be errors.
func TestOtherServers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another 404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"page":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"incomplete balance": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"account":"user:u1","accountId":"u1","accountType":"user","availableBalance":1}`))
		},
		"gap": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"events":[{"account":"user:u1","seq":1,"chain":"9f3ab2c1d4e5f607","event":{}},{"account":"user:u1","seq":3,"chain":"9f3ab2c1d4e5f608","event":{}}],"last":3}`))
		},
		"no chain": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"events":[{"account":"user:u1","seq":1,"event":{}}],"last":1}`))
		},
		"malformed chain": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"events":[{"account":"user:u1","seq":1,"chain":"9F3AB2C1D4E5F607","event":{}}],"last":1}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			t.Cleanup(srv.Close)
			c := newClient(t, srv.URL, "x")
			_, ok, err := c.Balance(t.Context(), "user:u1")
			if err == nil || ok {
				t.Errorf("Balance: got ok %v, error %v, want an error", ok, err)
			}
			events, _, err := c.Events(t.Context(), "user:u1", 0, 10)
			if err == nil {
				t.Errorf("Events: got %v, want an error", events)
			}
		})
	}
}

func TestNewRefusesURLs(t *testing.T) {
	for _, url := range []string{"", "core:8080", "ftp://core", "http://", "::"} {
		t.Run(url, func(t *testing.T) {
			_, err := coreclient.New(url, "x", coreclient.Config{})
			if err == nil {
				t.Error("got no error")
			}
		})
	}
}
