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
	srv := httptest.NewServer(coreapi.New(l, v, coreapi.Config{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	raw, err := auth.Sign(secret, auth.Request{Subject: "gateway", Scopes: []string{scope}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return l, newClient(t, srv.URL, raw)
}

func newClient(t *testing.T, url, raw string) *coreclient.Client {
	t.Helper()
	c, err := coreclient.New(url, raw, coreclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// commitEveryOperation leaves one transaction of each kind behind.
func commitEveryOperation(t *testing.T, l *wallet.Ledger) {
	t.Helper()
	n := 0
	do := func(op wallet.Op) uuid.UUID {
		t.Helper()
		n++
		op.IdempotencyKey, op.Reason = fmt.Sprint("k", n), "some_reason"
		r, err := l.Do(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		return r.EscrowID
	}
	do(wallet.Op{Operation: wallet.OpCredit, Account: "user:u1", Amount: 1000, Metadata: []byte(`{"a":{"amount":7}}`)})
	do(wallet.Op{Operation: wallet.OpDebit, Account: "user:u1", Amount: 10})
	hold := wallet.Op{Operation: wallet.OpHold, Account: "user:u1", Amount: 100, QueueItemID: "q", FeatureType: "spin_wheel"}
	a, b, c := do(hold), do(hold), do(hold)
	do(wallet.Op{Operation: wallet.OpSettle, EscrowID: a, Model: "model:m1", Amount: 100, QueueItemID: "q"})
	do(wallet.Op{Operation: wallet.OpRefund, EscrowID: b, Amount: 100, QueueItemID: "q"})
	do(wallet.Op{Operation: wallet.OpPartialSettle, EscrowID: c, Model: "model:m1", RefundAmount: 30, SettleAmount: 70, QueueItemID: "q"})
	do(wallet.Op{Operation: wallet.OpDebit, Account: "model:m1", Amount: 5})
}

// What is decoded from history routes like what the streams carry.
func TestHistoryIsWhatIsPublished(t *testing.T) {
	l, c := serveCore(t, auth.ScopeRead)
	commitEveryOperation(t, l)
	for _, account := range []string{"user:u1", "model:m1"} {
		groups, err := l.UpdatesAfter(t.Context(), account, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var want []bus.Delivery
		for _, g := range groups {
			want = append(want, g.Deliveries...)
		}
		for after := range int64(len(want)) {
			got, last, err := c.Events(t.Context(), account, after, 1000)
			if err != nil || last != int64(len(want)) || len(got) != len(want)-int(after) {
				t.Fatalf("%s after %d: %d events, last %d, err %v, want %d of %d", account, after, len(got), last, err, len(want)-int(after), len(want))
			}
			for i, g := range got {
				w := want[int(after)+i]
				if g.ID != w.ID || g.Type != w.Type || g.Account != w.Account || g.Seq != w.Seq || g.Amount != w.Amount ||
					g.Reason != w.Reason || g.Feature != w.Feature || string(g.ForAccount()) != string(w.ForAccount()) {
					t.Errorf("got  %+v %s\nwant %+v %s", g, g.ForAccount(), w, w.ForAccount())
				}
			}
		}
	}
}

func TestBalance(t *testing.T) {
	l, c := serveCore(t, auth.ScopeRead)
	commitEveryOperation(t, l)
	for _, account := range []wallet.Account{"user:u1", "model:m1"} {
		want, err := l.Balance(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := c.Balance(t.Context(), string(account))
		if err != nil || !ok || got.Available != want.Available || got.Escrow != want.Escrow || got.Earned != want.Earned ||
			got.Seq != want.Seq || !got.UpdatedAt.Equal(want.UpdatedAt.Truncate(time.Millisecond)) {
			t.Errorf("got %+v %v %v, want %+v", got, ok, err, want)
		}
	}
}

func TestUnknownAccount(t *testing.T) {
	_, c := serveCore(t, auth.ScopeRead)
	if b, ok, err := c.Balance(t.Context(), "user:nobody"); ok || err != nil {
		t.Errorf("balance %+v %v %v", b, ok, err)
	}
	if events, last, err := c.Events(t.Context(), "user:nobody", 0, 10); len(events) != 0 || last != 0 || err != nil {
		t.Errorf("events %v %d %v", events, last, err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestTokenThatIsRefused(t *testing.T) {
	_, c := serveCore(t, auth.ScopeHold)
	if err := c.Ping(t.Context()); !errors.Is(err, coreclient.ErrRefused) {
		t.Errorf("ping: %v", err)
	}
}

// Whatever else answers at the core's address must not look like a ledger.
func TestNoCore(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another 404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"a page":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"a redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"half a number": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"accountId":"user:u1","accountType":"user","availableBalance":1}`))
		},
		"a hole": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"events":[{"account":"user:u1","seq":1,"event":{}},{"account":"user:u1","seq":3,"event":{}}],"last":3}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			t.Cleanup(srv.Close)
			c := newClient(t, srv.URL, "x")
			if _, ok, err := c.Balance(t.Context(), "user:u1"); err == nil || ok {
				t.Errorf("balance: %v %v", ok, err)
			}
			if events, _, err := c.Events(t.Context(), "user:u1", 0, 10); err == nil {
				t.Errorf("events: %v", events)
			}
		})
	}
	for _, bad := range []string{"", "core:8080", "ftp://core", "http://", "::"} {
		if _, err := coreclient.New(bad, "x", coreclient.Config{}); err == nil {
			t.Errorf("URL %q is taken", bad)
		}
	}
}
