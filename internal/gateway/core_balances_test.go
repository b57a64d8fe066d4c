package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// slowCore is a core whose calls end when the test wants it. The n-th call answers with seq n.
type slowCore struct {
	began int64
	end   chan error
}

func (s *slowCore) read(_ context.Context, account string) (bus.Balance, bool, error) {
	s.began++
	b := bus.Balance{Account: account, Seq: s.began}
	err := <-s.end
	return b, err == nil, err
}

// balanceRequest is a request for a balance.
type balanceRequest struct {
	cancel  context.CancelFunc
	answer  bus.Balance
	err     error
	settled bool
}

func startBalanceRequest(t *testing.T, c *coreBalances, account string) *balanceRequest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &balanceRequest{cancel: cancel}
	go func() {
		r.answer, _, r.err = c.readBalance(ctx, account)
		r.settled = true
	}()
	synctest.Wait()
	return r
}

// inSlowCore runs a test whose requests begin while the first one is being answered.
func inSlowCore(t *testing.T, test func(t *testing.T, core *slowCore, c *coreBalances, first *balanceRequest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core := &slowCore{end: make(chan error)}
		c := newCoreBalances(core.read)
		test(t, core, c, startBalanceRequest(t, c, "user:u"))
		if len(c.calls) != 0 {
			t.Errorf("running calls: got %d, want 0", len(c.calls))
		}
	})
}

func checkBegan(t *testing.T, core *slowCore, want int64) {
	t.Helper()
	synctest.Wait()
	if core.began != want {
		t.Errorf("calls of the core: got %d, want %d", core.began, want)
	}
}

func checkSeq(t *testing.T, name string, r *balanceRequest, want int64) {
	t.Helper()
	synctest.Wait()
	if r.err != nil || r.answer.Seq != want {
		t.Errorf("%s: got seq %d and error %v, want seq %d", name, r.answer.Seq, r.err, want)
	}
}

// Requests that come during a call share the next one. They never get the answer of a call that
// began before them.
func TestBalanceRequestsShareTheNextCall(t *testing.T) {
	inSlowCore(t, func(t *testing.T, core *slowCore, c *coreBalances, first *balanceRequest) {
		var later []*balanceRequest
		for range 50 {
			later = append(later, startBalanceRequest(t, c, "user:u"))
		}
		checkBegan(t, core, 1)
		core.end <- nil
		checkSeq(t, "first request", first, 1)
		checkBegan(t, core, 2)
		core.end <- nil
		for _, r := range later {
			checkSeq(t, "later request", r, 2)
		}
		checkBegan(t, core, 2)
	})
}

func TestBalanceRequestsOfOtherAccountsDoNotWait(t *testing.T) {
	inSlowCore(t, func(t *testing.T, core *slowCore, c *coreBalances, _ *balanceRequest) {
		startBalanceRequest(t, c, "user:other")
		checkBegan(t, core, 2)
		core.end <- nil
		core.end <- nil
		synctest.Wait()
	})
}

func TestFailedBalanceCallDoesNotFailTheNextOne(t *testing.T) {
	inSlowCore(t, func(t *testing.T, core *slowCore, c *coreBalances, first *balanceRequest) {
		second := startBalanceRequest(t, c, "user:u")
		failed := errors.New("the core failed")
		core.end <- failed
		synctest.Wait()
		if !errors.Is(first.err, failed) {
			t.Errorf("first request: got error %v, want %v", first.err, failed)
		}
		core.end <- nil
		checkSeq(t, "second request", second, 2)
	})
}

// A request whose client disconnects ends at once. The others still get their answer.
func TestDisconnectedBalanceRequestDoesNotEndTheCall(t *testing.T) {
	inSlowCore(t, func(t *testing.T, core *slowCore, c *coreBalances, first *balanceRequest) {
		second := startBalanceRequest(t, c, "user:u")
		third := startBalanceRequest(t, c, "user:u")
		first.cancel()
		second.cancel()
		synctest.Wait()
		for name, r := range map[string]*balanceRequest{"first": first, "second": second} {
			if !r.settled || !errors.Is(r.err, context.Canceled) {
				t.Errorf("%s request: got error %v, want context.Canceled", name, r.err)
			}
		}
		core.end <- nil
		core.end <- nil
		checkSeq(t, "third request", third, 2)
	})
}

// A call that is running when the gateway stops is ended and waited for.
func TestStopEndsRunningBalanceCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned := false
		c := newCoreBalances(func(ctx context.Context, _ string) (bus.Balance, bool, error) {
			<-ctx.Done()
			returned = true
			return bus.Balance{}, false, ctx.Err()
		})
		first := startBalanceRequest(t, c, "user:u")
		first.cancel()
		stopped, stop := context.WithCancel(t.Context())
		stop()
		err := c.run(stopped)
		if err != nil || !returned {
			t.Errorf("stop: got the error %v and the call returned: %v, want nil and true", err, returned)
		}

		_, _, err = c.readBalance(t.Context(), "user:u")
		if !errors.Is(err, errGatewayStops) {
			t.Errorf("request after the stop: got %v, want errGatewayStops", err)
		}
	})
}
