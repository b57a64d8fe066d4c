package chaos

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/client"
)

// workerInterval is the shortest time between two operations of a worker.
const workerInterval = 40 * time.Millisecond

// worker does one operation after the other.
type worker struct {
	load *load
	id   int
	rand *rand.Rand
	n    int
	own  []*call // single calls that were done
}

func (wk *worker) run() {
	tick := time.NewTicker(workerInterval)
	defer tick.Stop()
	for {
		select {
		case <-wk.load.stopping:
			return
		case <-tick.C:
			wk.step()
		}
	}
}

// step does one random thing.
func (wk *worker) step() {
	l := wk.load
	switch n := wk.rand.IntN(100); {
	case n < 60:
		wk.single(wk.randomCall())
	case n < 66:
		var calls []*call
		for range 2 + wk.rand.IntN(6) {
			calls = append(calls, wk.randomCall())
		}
		l.resolveBatch(calls, wk.rand)
	case n < 72 && len(wk.own) > 0:
		l.repeat(wk.own[wk.rand.IntN(len(wk.own))])
	case n < 74 && len(wk.own) > 0:
		wk.reuseCredit()
	case n < 82:
		wk.single(wk.impossibleCall())
	case n < 92:
		l.readCore(wk.pick(l.accounts()), l.w.cores[wk.rand.IntN(len(l.w.cores))])
	default:
		l.readGateway(wk.pick(l.accounts()), l.w.gateways[wk.rand.IntN(len(l.w.gateways))])
	}
}

func (wk *worker) single(c *call) {
	wk.load.resolve(c, wk.rand)
	if c.done {
		wk.own = append(wk.own, c)
	}
}

// reuseCredit reuses the key of a credit, if the worker has done one lately.
func (wk *worker) reuseCredit() {
	c := wk.own[wk.rand.IntN(len(wk.own))]
	if c.operation == client.OperationCredit && !wk.load.lossy {
		wk.load.reuse(c)
	}
}

func (wk *worker) newKey() string {
	wk.n++
	return fmt.Sprintf("w%d-%d", wk.id, wk.n)
}

func (wk *worker) pick(list []string) string { return list[wk.rand.IntN(len(list))] }

// randomCall returns an operation that is usually possible.
func (wk *worker) randomCall() *call {
	l := wk.load
	c := &call{key: wk.newKey(), amount: 1 + wk.rand.Int64N(100)}
	e := (*escrow)(nil)
	if wk.rand.IntN(2) == 0 {
		e = l.takeEscrow(wk.rand)
	}
	switch n := wk.rand.IntN(10); {
	case e != nil:
		c.escrow = e
		c.account = e.user
		c.amount = e.amount
		wk.closeEscrow(c)
	case n < 2:
		c.operation = client.OperationCredit
		c.account = wk.pick(l.accounts())
	case n < 4:
		c.operation = client.OperationDebit
		c.account = wk.pick(l.accounts())
	default:
		c.operation = client.OperationHold
		c.account = wk.pick(l.users)
		c.amount++ // so that it can be settled in part
		if wk.rand.IntN(4) == 0 {
			c.expires = 1 + wk.rand.IntN(3)
		}
	}
	return c
}

// closeEscrow chooses how the call closes its escrow.
func (wk *worker) closeEscrow(c *call) {
	switch wk.rand.IntN(3) {
	case 0:
		c.operation = client.OperationSettle
		c.model = wk.pick(wk.load.models)
	case 1:
		c.operation = client.OperationRefund
	default:
		c.operation = client.OperationPartialSettle
		c.model = wk.pick(wk.load.models)
		c.amount = 1 + wk.rand.Int64N(c.escrow.amount-1)
		c.settled = c.escrow.amount - c.amount
	}
}

// impossibleCall returns an operation that must be refused.
func (wk *worker) impossibleCall() *call {
	l := wk.load
	c := &call{key: wk.newKey(), amount: 1 + wk.rand.Int64N(100)}
	n := wk.rand.IntN(4)
	e := (*escrow)(nil)
	if n == 0 {
		e = l.takeEscrow(wk.rand)
	}
	switch {
	case e != nil:
		c.operation = client.OperationRefund
		c.escrow = e
		c.account = e.user
		c.amount = e.amount + 1
		l.returnEscrow(e)
	case n == 1:
		c.operation = client.OperationRefund
		c.escrow = &escrow{id: wk.unknownID(), user: l.users[0], amount: 1}
		c.account = l.users[0]
	case n == 2:
		c.operation = client.OperationDebit
		c.account = wk.pick(l.accounts())
		c.amount = 0
	default:
		c.operation = client.OperationDebit
		c.account = wk.pick(l.accounts())
		c.amount = 1 << 50
	}
	return c
}

// unknownID returns the id of an escrow that does not exist. It depends only on the seed.
func (wk *worker) unknownID() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(wk.rand.IntN(256))
	}
	id, err := uuid.Parse(hex.EncodeToString(b[:]))
	if err != nil {
		panic(err) // 32 hexadecimal digits are an id
	}
	return id.String()
}

func (l *load) returnEscrow(e *escrow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.escrows = append(l.escrows, e)
}
