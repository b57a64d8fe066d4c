package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// fixture is a core with a proxy before it, and the flags of a tip jar.
type fixture struct {
	*testing.T
	ledger *client.Ledger // without the proxy
	proxy  *testenv.Proxy
	flags  flags
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	coreURL := coretest.Start(t)
	proxy := testenv.NewProxy(t, strings.TrimPrefix(coreURL, "http://"))
	token := coretest.ServiceToken(t)
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(token), RetryFor: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ledger.Close)
	_, err = ledger.Credit(t.Context(), client.Credit{Account: "user:u1", Amount: 100, Reason: "promotional_award"})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{T: t, ledger: ledger, proxy: proxy, flags: flags{
		CoreURL:  "http://" + proxy.Addr(),
		Token:    token,
		Model:    "m1",
		Listen:   testenv.FreeAddr(t),
		RetryFor: time.Minute,
	}}
}

// runDuring runs the program while do runs.
func (f *fixture) runDuring(do func()) {
	f.Helper()
	err := exampletest.RunDuring(f.T, func(ctx context.Context) error { return run(ctx, f.flags) }, do)
	if err != nil {
		f.Fatal(err)
	}
}

// send sends a tip once the program listens.
func (f *fixture) send(body string) (status int, o outcome) {
	f.Helper()
	response, err := f.post(body)
	if err != nil {
		f.Error(err)
		return 0, outcome{}
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&o)
	if err != nil {
		f.Error(err)
	}
	return response.StatusCode, o
}

func (f *fixture) post(body string) (*http.Response, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); ; <-tick.C {
		response, err := http.Post("http://"+f.flags.Listen+"/tips", "application/json", strings.NewReader(body))
		if err == nil || time.Now().After(deadline) {
			return response, err
		}
	}
}

func (f *fixture) expect(status int, body string) outcome {
	f.Helper()
	got, o := f.send(body)
	if got != status {
		f.Errorf("%s: got status %d with %+v, want %d", body, got, o, status)
	}
	return o
}

// checkPoints checks what the user has left and what the model has earned.
func (f *fixture) checkPoints(available, earned int64) {
	f.Helper()
	user, err := f.ledger.Balance(f.Context(), "user:u1")
	if err != nil {
		f.Fatal(err)
	}
	model, err := f.ledger.Balance(f.Context(), "model:m1")
	if err != nil {
		f.Fatal(err)
	}
	if user.Available != available || user.Escrow != 0 || model.Earned != earned {
		f.Errorf("got %d available, %d in escrow and %d earned, want %d, 0 and %d",
			user.Available, user.Escrow, model.Earned, available, earned)
	}
}

func TestTips(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runDuring(func() {
		o := f.expect(http.StatusCreated, `{"id":"tip-1","user":"u1","amount":30}`)
		if o.Available != 70 {
			t.Errorf("available: got %d, want 70", o.Available)
		}
		f.expect(http.StatusCreated, `{"id":"tip-1","user":"u1","amount":30}`) // repeated
		o = f.expect(http.StatusPaymentRequired, `{"id":"tip-2","user":"u1","amount":100}`)
		if o.Missing != 30 {
			t.Errorf("missing points: got %d, want 30", o.Missing)
		}
		f.expect(http.StatusConflict, `{"id":"tip-1","user":"u1","amount":31}`)
		f.expect(http.StatusBadRequest, `{"id":"tip-3","user":"u1","amount":0}`)
		f.expect(http.StatusBadRequest, `{"user":"u1","amount":1}`)
		f.expect(http.StatusNotFound, `{"id":"tip-4","user":"unknown","amount":1}`)
		f.checkPoints(70, 30)
	})
}

// Apps send the same tips at the same time while the network to the core fails again and again.
func TestTipsThroughBadNetwork(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runDuring(func() {
		var tips sync.WaitGroup
		for _, id := range []string{"a", "a", "b", "b", "c", "c"} {
			tips.Go(func() { f.expect(http.StatusCreated, `{"id":"`+id+`","user":"u1","amount":10}`) })
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for cuts := 0; cuts < 10; cuts++ {
			f.proxy.PauseReplies()
			<-tick.C
			f.proxy.Cut()
			f.proxy.Resume()
		}
		tips.Wait()
		f.checkPoints(70, 30)
	})
}

// A tip whose hold has no settlement is completed when the app repeats it.
func TestRepeatedTipCompletesHold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.ledger.Hold(t.Context(), client.Hold{
		Account:        "user:u1",
		Amount:         30,
		Reason:         "tip",
		QueueItemID:    "tip-1",
		FeatureType:    "tipjar",
		ExpiresIn:      holdLife,
		IdempotencyKey: "tip-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.runDuring(func() {
		f.expect(http.StatusCreated, `{"id":"tip-1","user":"u1","amount":30}`)
		f.checkPoints(70, 30)
	})
}

func TestProgramStopsOnSignal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p := exampletest.Start(t, "--core-url", f.flags.CoreURL, "--core-token", f.flags.Token, "--model", "m1", "--listen", f.flags.Listen)
	f.expect(http.StatusCreated, `{"id":"tip-1","user":"u1","amount":30}`)
	p.Stop()
}
