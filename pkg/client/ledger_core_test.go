package client_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

// patience bounds every wait. It is far longer than anything takes on a busy machine.
const patience = 5 * time.Minute

// core is the API of a real core in front of a real ledger.
type core struct {
	*testing.T
	url string
}

func startCore(t *testing.T) *core {
	t.Helper()
	return &core{T: t, url: coretest.Start(t)}
}

// newLedger returns a client with a token of all scopes, unless cfg has another one. Its time limits
// are long, because the machine may be slow.
func newLedger(t testing.TB, url string, cfg client.LedgerConfig) *client.Ledger {
	t.Helper()
	if cfg.Token == nil {
		cfg.Token = client.StaticToken(coretest.ServiceToken(t))
	}
	cfg.AttemptTimeout = cmp.Or(cfg.AttemptTimeout, 2*patience)
	cfg.RetryFor = cmp.Or(cfg.RetryFor, 5*patience)
	ledger, err := client.NewLedger(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ledger.Close)
	return ledger
}

// startProxy starts a proxy in front of the core and returns its URL.
func (c *core) startProxy() (*testenv.Proxy, string) {
	c.Helper()
	proxy := testenv.NewProxy(c, strings.TrimPrefix(c.url, "http://"))
	return proxy, "http://" + proxy.Addr()
}

// waitUntil waits until a condition holds that nothing signals.
func (c *core) waitUntil(condition string, holds func() bool) {
	c.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			c.Fatalf("not within %s: %s", patience, condition)
		}
	}
}

func (c *core) checkBalance(account string, want client.Balance) {
	c.Helper()
	got, err := newLedger(c, c.url, client.LedgerConfig{}).Balance(c.Context(), account)
	if err != nil {
		c.Fatal(err)
	}
	checkEqual(c, account+" available", got.Available, want.Available)
	checkEqual(c, account+" escrow", got.Escrow, want.Escrow)
	checkEqual(c, account+" earned", got.Earned, want.Earned)
	checkEqual(c, account+" seq", got.Seq, want.Seq)
}

// checkEqual names the value that differs from the expected one.
func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}
