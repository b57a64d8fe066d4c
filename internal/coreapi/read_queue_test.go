package coreapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// queueTest starts reads in a queue, in a bubble of synctest.
type queueTest struct {
	*testing.T
	queue *readQueue
}

// queuedRead is a read that was started.
type queuedRead struct {
	cancel  context.CancelFunc // the client disconnects
	end     func()             // the read ends; set when it runs
	err     error
	settled bool // the read runs or was refused
}

// inQueue runs a test with a queue of 8 slots.
func inQueue(t *testing.T, test func(q *queueTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&queueTest{T: t, queue: newReadQueue(8, newMetrics(nil))})
	})
}

// start starts a read and returns when it runs, waits or was refused.
func (q *queueTest) start(group groupID, subject string) *queuedRead {
	q.Helper()
	ctx, cancel := context.WithCancel(q.Context())
	r := &queuedRead{cancel: cancel}
	go func() {
		r.end, r.err = q.queue.admitRead(ctx, group, subject)
		r.settled = true
	}()
	synctest.Wait()
	return r
}

// startMany starts n reads of one reader.
func (q *queueTest) startMany(n int, group groupID, subject string) []*queuedRead {
	q.Helper()
	reads := make([]*queuedRead, n)
	for i := range reads {
		reads[i] = q.start(group, subject)
	}
	return reads
}

// endRead ends a read that runs and returns when the next reads run.
func (q *queueTest) endRead(r *queuedRead) {
	q.Helper()
	if r.end == nil {
		q.Fatal("got a read that does not run, want one that runs")
	}
	r.end()
	r.end = nil
	synctest.Wait()
}

func countRunning(reads ...*queuedRead) int {
	n := 0
	for _, r := range reads {
		if r.end != nil {
			n++
		}
	}
	return n
}

func (q *queueTest) checkRunning(name string, want int, reads ...*queuedRead) {
	q.Helper()
	if got := countRunning(reads...); got != want {
		q.Errorf("%s: got %d running reads, want %d", name, got, want)
	}
}

// drain ends all reads and checks that the queue has forgotten them.
func (q *queueTest) drain(reads ...*queuedRead) {
	q.Helper()
	for countRunning(reads...) > 0 {
		for _, r := range reads {
			if r.end != nil {
				q.endRead(r)
			}
		}
	}
	q.checkEmpty()
}

func (q *queueTest) checkEmpty() {
	q.Helper()
	if q.queue.running != 0 {
		q.Errorf("running reads: got %d, want 0", q.queue.running)
	}
	for i := range q.queue.groups {
		g := &q.queue.groups[i]
		if g.running != 0 || g.waiting != 0 || len(g.readers) != 0 || g.turns.Len() != 0 {
			q.Errorf("%s: got %d running, %d waiting, %d readers and %d turns, want none",
				groupNames[i], g.running, g.waiting, len(g.readers), g.turns.Len())
		}
	}
}

func TestReaderUsesHalfOfTheSlots(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		flood := q.startMany(20, groupUsers, "user:flood")
		q.checkRunning("one reader", 4, flood...)
		other := q.start(groupUsers, "user:other")
		q.checkRunning("another reader", 1, other)
		q.endRead(flood[0])
		q.checkRunning("the next read of the first reader", 1, flood[4])
		q.drain(append(flood, other)...)
	})
}

func TestGroupUsesThreeQuartersOfTheSlots(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		var users []*queuedRead
		for i := range 20 {
			users = append(users, q.start(groupUsers, fmt.Sprint("user:", i)))
		}
		q.checkRunning("users", 6, users...)
		services := q.startMany(3, groupServices, "gateway")
		q.checkRunning("services", 2, services...)
		q.drain(append(users, services...)...)
	})
}

// Under load each group gets half of the slots, however many readers it has.
func TestGroupsShareTheSlots(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		var users []*queuedRead
		for i := range 50 {
			users = append(users, q.start(groupUsers, fmt.Sprint("user:", i)))
		}
		services := q.startMany(50, groupServices, "gateway")
		for range 4 {
			for _, r := range users {
				if r.end != nil {
					q.endRead(r)
					break
				}
			}
		}
		q.checkRunning("users", 4, users...)
		q.checkRunning("services", 4, services...)
		q.drain(append(users, services...)...)
	})
}

// The readers of a group take turns, so that a reader with one read does not wait for all reads of
// a reader that came before.
func TestReadersTakeTurns(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		first := q.startMany(30, groupUsers, "user:first")
		second := q.startMany(30, groupUsers, "user:second")
		third := q.start(groupUsers, "user:third")
		q.checkRunning("before", 0, third)
		q.endRead(first[0])
		q.endRead(first[1])
		q.checkRunning("after two turns", 1, third)
		q.drain(append(append(first, second...), third)...)
	})
}

func TestReadWaitsForABoundedTime(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		running := q.startMany(4, groupUsers, "user:u")
		began := time.Now()
		_, err := q.queue.admitRead(q.Context(), groupUsers, "user:u")
		if !errors.Is(err, errTooManyReads) {
			t.Errorf("got error %v, want errTooManyReads", err)
		}
		if got := time.Since(began); got != defaultPatience {
			t.Errorf("got an answer after %v, want %v", got, defaultPatience)
		}
		q.drain(running...)
	})
}

// If too many reads wait, the reader with most of them loses its newest one.
func TestFullQueueRefusesTheLongestReader(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		q.queue.maxWaiting = 10
		flood := q.startMany(4+10, groupUsers, "user:flood")
		refused := q.start(groupUsers, "user:flood")
		if !errors.Is(refused.err, errTooManyReads) {
			t.Errorf("the flood's next read: got error %v, want errTooManyReads", refused.err)
		}

		other := q.startMany(2+3, groupUsers, "user:other")
		q.checkRunning("the other reader", 2, other...)
		for i, r := range other[2:] {
			if r.settled {
				t.Errorf("read %d of the other reader: got error %v, want it to wait", i, r.err)
			}
		}
		for i, r := range flood[4:] {
			wantRefused := i >= 7
			if r.settled != wantRefused {
				t.Errorf("waiting read %d of the flood: got refused %v, want %v", i, r.settled, wantRefused)
			}
		}

		service := q.startMany(2+10, groupServices, "gateway")
		for i, r := range service[2:] {
			if r.settled {
				t.Errorf("waiting read %d of the other group: got error %v, want it to wait", i, r.err)
			}
		}
		q.drain(append(append(flood, other...), service...)...)
	})
}

func TestDisconnectEndsTheWait(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		running := q.startMany(4, groupUsers, "user:u")
		waiting := q.startMany(2, groupUsers, "user:u")
		waiting[0].cancel()
		synctest.Wait()
		if !errors.Is(waiting[0].err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", waiting[0].err)
		}
		q.endRead(running[0])
		q.checkRunning("the read behind it", 1, waiting[1])
		q.drain(append(running, waiting[1])...)
	})
}

// A slot that a read gets in the moment in which it gives up is not lost.
func TestSlotOfAnAbandonedReadIsFreed(t *testing.T) {
	inQueue(t, func(q *queueTest) {
		running := q.startMany(4, groupUsers, "user:u")
		waiting := q.start(groupUsers, "user:u")
		q.queue.mu.Lock() // both happen before the waiting read can look
		waiting.cancel()
		q.queue.releaseSlot(q.queue.findReader(groupUsers, "user:u"))
		running[0].end = nil
		q.queue.mu.Unlock()
		synctest.Wait()
		q.drain(append(running, waiting)...)
	})
}

// Many readers read and disconnect at random. The bounds hold at every moment, and in the end the
// queue is empty.
func TestQueueUnderRandomLoad(t *testing.T) {
	q := &queueTest{T: t, queue: newReadQueue(8, newMetrics(nil))}
	q.queue.maxWaiting = 20
	q.queue.patience = time.Millisecond
	var all, admitted, refused atomic.Int64
	var ofGroup [len(groupNames)]atomic.Int64
	var ofReader [len(groupNames)][5]atomic.Int64
	checkBound := func(name string, n *atomic.Int64, limit int) {
		if got := n.Add(1); got > int64(limit) {
			t.Errorf("%s: got %d running reads, want at most %d", name, got, limit)
		}
	}
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			for range 300 {
				group := rand.IntN(len(groupNames))
				reader := rand.IntN(len(ofReader[group]))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(2000))*time.Microsecond)
				end, err := q.queue.admitRead(ctx, groupID(group), fmt.Sprint(reader))
				if err == nil {
					admitted.Add(1)
					checkBound("all", &all, 8)
					checkBound("group", &ofGroup[group], 6)
					checkBound("reader", &ofReader[group][reader], 4)
					if rand.IntN(2) == 0 {
						<-ctx.Done()
					}
					ofReader[group][reader].Add(-1)
					ofGroup[group].Add(-1)
					all.Add(-1)
					end()
				} else {
					refused.Add(1)
				}
				cancel()
			}
		})
	}
	clients.Wait()
	q.checkEmpty()
	if admitted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("got %d admitted and %d refused reads, want some of both", admitted.Load(), refused.Load())
	}
}

// A query continues for a moment after its client has disconnected, and is then cancelled.
func TestQueryIsCancelledSoonAfterTheDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, disconnect := context.WithCancel(t.Context())
		c := call{
			api:    &API{cfg: Config{Timeout: time.Minute}, reads: newReadQueue(1, newMetrics(nil))},
			ctx:    client,
			claims: &auth.Claims{Subject: "user:u"},
		}
		err := c.readLedger(func(ctx context.Context) error {
			disconnect()
			began := time.Now()
			<-ctx.Done()
			if got := time.Since(began); got != cancelDelay {
				t.Errorf("got the end after %v, want %v", got, cancelDelay)
			}
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
	})
}
