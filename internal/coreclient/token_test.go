package coreclient_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// A tokenWorld is a real core whose clock the test moves, and a client with its token in a file.
type tokenWorld struct {
	*testing.T
	client *coreclient.Client
	file   string
	ahead  atomic.Int64 // how far the core's clock is ahead, in ns
}

func newTokenWorld(t *testing.T, firstToken string) *tokenWorld {
	t.Helper()
	w := &tokenWorld{T: t, file: filepath.Join(t.TempDir(), "token")}
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	v, err := auth.NewVerifier(auth.Config{
		HS256Secret: secret,
		Now:         func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(coreapi.New(l, v, coreapi.Config{
		MaxReads: 64, // so that no reader of a test waits for others, and is refused on a slow machine
		Timeout:  2 * time.Minute,
		Logger:   slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(srv.Close)
	_, err = l.Do(t.Context(), wallet.Op{
		Operation: wallet.OpCredit, Account: "user:u1", Amount: 5, Reason: "some_reason", IdempotencyKey: "k",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.writeToken(firstToken)
	w.client, err = coreclient.New(srv.URL, firstToken, coreclient.Config{
		Timeout:   2 * time.Minute,
		TokenFile: w.file,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// writeToken replaces the file, as the documentation says.
func (w *tokenWorld) writeToken(raw string) {
	w.Helper()
	err := os.WriteFile(w.file+".new", []byte(raw+"\n"), 0o600)
	if err != nil {
		w.Fatal(err)
	}
	err = os.Rename(w.file+".new", w.file)
	if err != nil {
		w.Fatal(err)
	}
}

func (w *tokenWorld) mustRenew(want bool) {
	w.Helper()
	renewed, err := w.client.Renew(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if renewed != want {
		w.Fatalf("got renewed %t, want %t", renewed, want)
	}
}

func signScope(t *testing.T, scope string, ttl time.Duration) string {
	t.Helper()
	raw, err := auth.Sign(secret, auth.Request{Subject: "gateway", Scopes: []string{scope}, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// While many goroutines read, the token expires, and the file has another one. No read fails.
func TestTokenIsRotatedUnderLoad(t *testing.T) {
	w := newTokenWorld(t, signScope(t, auth.ScopeRead, time.Hour))
	const (
		readers = 4
		reads   = 20 // of each reader before the token expires, and after it
	)
	var before, all sync.WaitGroup
	expired := make(chan struct{})
	before.Add(readers)
	for range readers {
		all.Go(func() {
			for i := range 2 * reads {
				if i == reads {
					before.Done()
				}
				if i == reads+reads/2 {
					<-expired
				}
				b, _, err := w.client.Balance(t.Context(), "user:u1")
				if err != nil {
					t.Errorf("read %d: %v", i, err)
				} else if b.Available != 5 {
					t.Errorf("read %d: got %d points, want 5", i, b.Available)
				}
			}
		})
	}
	before.Wait()
	w.writeToken(signScope(t, auth.ScopeRead, 100*time.Hour))
	w.ahead.Store(int64(50 * time.Hour))
	close(expired)
	all.Wait()
	state := w.client.Token()
	if state.Refused != "" {
		t.Errorf("got a refused token, want none: %s", state.Refused)
	}
	if time.Until(state.Expiry) < 50*time.Hour {
		t.Errorf("got expiry %v, want that of the new token", state.Expiry)
	}
}

// Renew uses a new token before the core refuses the old one. It keeps the old one if the core
// refuses the new one.
func TestRenewKeepsTheTokenThatWorks(t *testing.T) {
	w := newTokenWorld(t, signScope(t, auth.ScopeRead, time.Hour))
	w.mustRenew(false)

	w.writeToken(signScope(t, auth.ScopeHold, 100*time.Hour))
	renewed, err := w.client.Renew(t.Context())
	if renewed || !errors.Is(err, coreclient.ErrRefused) || !strings.Contains(err.Error(), w.file) {
		t.Fatalf("got %t and error %v, want ErrRefused that names the file", renewed, err)
	}
	w.mustRenew(false)
	err = w.client.Ping(t.Context())
	if err != nil {
		t.Fatalf("the old token must still work: %v", err)
	}

	w.writeToken(signScope(t, auth.ScopeRead, 100*time.Hour))
	w.mustRenew(true)
	if time.Until(w.client.Token().Expiry) < 50*time.Hour {
		t.Errorf("got expiry %v, want that of the new token", w.client.Token().Expiry)
	}

	err = os.Remove(w.file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.Renew(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want that the file does not exist", err)
	}
	err = w.client.Ping(t.Context())
	if err != nil {
		t.Errorf("the last token must still work: %v", err)
	}
}

func TestRefusedTokenIsReported(t *testing.T) {
	w := newTokenWorld(t, signScope(t, auth.ScopeHold, 100*time.Hour))
	err := w.client.Token().Check()
	if err != nil {
		t.Errorf("got error %v before the first call, want none", err)
	}
	err = w.client.Ping(t.Context())
	if !errors.Is(err, coreclient.ErrRefused) {
		t.Fatalf("got error %v, want ErrRefused", err)
	}
	err = w.client.Token().Check()
	for _, want := range []string{"wallet:read", w.file} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %s", err, want)
		}
	}

	// The next call reads the file.
	w.writeToken(signScope(t, auth.ScopeRead, 100*time.Hour))
	err = w.client.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = w.client.Token().Check()
	if err != nil {
		t.Errorf("got error %v, want none with the new token", err)
	}
}

func TestExpiringTokenIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		age, left time.Duration
		expiring  bool
	}{
		"a year, two days left":  {363 * 24 * time.Hour, 2 * 24 * time.Hour, false},
		"a year, 20 hours left":  {364 * 24 * time.Hour, 20 * time.Hour, true},
		"ten hours, eight left":  {2 * time.Hour, 8 * time.Hour, false},
		"ten hours, half left":   {10 * time.Hour, 30 * time.Minute, true},
		"ten hours, has expired": {11 * time.Hour, -time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
				"iat": time.Now().Add(-tc.age).Unix(),
				"exp": time.Now().Add(tc.left).Unix(),
			}).SignedString(secret)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, "http://127.0.0.1:1", raw)
			err = c.Token().Check()
			if (err != nil) != tc.expiring {
				t.Fatalf("got error %v, want one: %t", err, tc.expiring)
			}
			if err != nil && !strings.Contains(err.Error(), "--core-token-file") {
				t.Errorf("got error %v, want the remedy in it", err)
			}
		})
	}
	c := newClient(t, "http://127.0.0.1:1", "not a JWT")
	state := c.Token()
	if state.Expiring || !state.Expiry.IsZero() {
		t.Errorf("got %+v for another kind of token, want an unknown expiry", state)
	}
}
