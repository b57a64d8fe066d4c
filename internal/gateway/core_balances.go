package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// coreBalances reads balances from the core, one call at a time for each account. The core counts
// the calls of all clients as reads of the gateway. So a client that asks for one balance again and
// again uses one of these reads, and leaves the others to the other clients.
type coreBalances struct {
	read func(ctx context.Context, account string) (b bus.Balance, ok bool, err error)

	lifetime context.Context // of all calls
	end      context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex              // protects the fields below
	calls map[string]*balanceCall // the running call of each account
	ended bool                    // no call begins any more
}

// A balanceCall is a call of the core, which requests for the same account share. A request never
// shares a call that has begun before it. Its balance could be older than an event that the client
// has received.
type balanceCall struct {
	next *balanceCall  // begins when this one has ended; nil: none
	done chan struct{} // closed after the fields below are set

	balance bus.Balance
	ok      bool
	err     error
}

func newCoreBalances(
	read func(ctx context.Context, account string) (b bus.Balance, ok bool, err error),
) *coreBalances {
	c := &coreBalances{
		read:  read,
		calls: make(map[string]*balanceCall),
	}
	c.lifetime, c.end = context.WithCancel(context.Background())
	return c
}

// run waits until ctx ends. Then it ends the running calls and waits for them. Later requests get
// errGatewayStops.
func (c *coreBalances) run(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.end()
	c.running.Wait()
	return nil
}

var errGatewayStops = errors.New("the gateway is stopping")

// readBalance returns the balance of an account. ok is false if the ledger does not have the
// account. If ctx ends, the call continues for the other requests.
func (c *coreBalances) readBalance(ctx context.Context, account string) (b bus.Balance, ok bool, err error) {
	call := c.joinCall(ctx, account)
	select {
	case <-call.done:
		return call.balance, call.ok, call.err
	case <-ctx.Done():
		return bus.Balance{}, false, ctx.Err()
	}
}

// joinCall returns a call that has not begun yet, or begins one.
func (c *coreBalances) joinCall(ctx context.Context, account string) *balanceCall {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.ended {
		refused := &balanceCall{done: make(chan struct{}), err: errGatewayStops}
		close(refused.done)
		return refused
	}
	running := c.calls[account]
	if running == nil {
		call := &balanceCall{done: make(chan struct{})}
		c.calls[account] = call
		c.running.Go(func() { c.runCalls(context.WithoutCancel(ctx), account, call) })
		return call
	}
	if running.next == nil {
		running.next = &balanceCall{done: make(chan struct{})}
	}
	return running.next
}

// runCalls runs the call and those that follow it. They end with c.lifetime, and not with the request
// that began them.
func (c *coreBalances) runCalls(ctx context.Context, account string, call *balanceCall) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.lifetime, cancel)()

	for call != nil {
		call.balance, call.ok, call.err = c.read(ctx, account)
		close(call.done)
		call = c.beginNextCall(account, call)
	}
}

// beginNextCall makes the call that follows the ended one the running call of the account. It
// returns nil if there is none.
func (c *coreBalances) beginNextCall(account string, ended *balanceCall) *balanceCall {
	c.mu.Lock()
	defer c.mu.Unlock()

	if ended.next == nil {
		delete(c.calls, account)
		return nil
	}
	c.calls[account] = ended.next
	return ended.next
}
