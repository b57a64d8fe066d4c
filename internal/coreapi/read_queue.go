package coreapi

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// A readQueue decides which reads run and which wait. It bounds both, so that reads can neither use
// all of the database nor all of the memory.
//
// The readers are in two groups: services, whose tokens may read all accounts, and users. Gateways
// are services, and each of them reads for thousands of users. A group can use at most three
// quarters of the slots, and a reader at most half of them. So a single reader, or all users
// together, always leave slots for others. A free slot goes to the group with fewer running reads,
// and within a group to the readers in turn.
//
// A read waits for a bounded time, and the number of waiting reads of a group is bounded. If it is
// reached, the reader with the most waiting reads loses its newest one.
type readQueue struct {
	slots       int // reads that may run at the same time
	groupSlots  int // of one group
	readerSlots int // of one reader
	maxWaiting  int // reads of one group that may wait
	patience    time.Duration

	mu      sync.Mutex
	running int
	groups  [len(groupNames)]readerGroup
}

// A groupID is the index of a group.
type groupID int

const (
	groupUsers groupID = iota
	groupServices
)

// groupNames are the values of the label readers.
var groupNames = [...]string{
	groupUsers:    "users",
	groupServices: "services",
}

type readerGroup struct {
	running int
	waiting int
	readers map[string]*reader // the readers with running or waiting reads, by the subject of their tokens
	turns   *list.List         // the readers of which a read can run as soon as the group has a slot
	metrics readMetrics
}

type reader struct {
	group   *readerGroup
	subject string
	running int
	waiting []*waitingRead // the oldest first
	turn    *list.Element  // nil: not in turns
}

// A waitingRead gets nil when it may run, and errTooManyReads when it must not wait any longer.
type waitingRead struct {
	result chan error
}

const (
	defaultPatience   = time.Second
	defaultMaxWaiting = 1024
)

func newReadQueue(slots int, m *metrics) *readQueue {
	q := &readQueue{
		slots:       slots,
		groupSlots:  max(1, slots*3/4),
		readerSlots: max(1, slots/2),
		maxWaiting:  defaultMaxWaiting,
		patience:    defaultPatience,
	}
	for i, name := range groupNames {
		q.groups[i] = readerGroup{
			readers: make(map[string]*reader),
			turns:   list.New(),
			metrics: m.ofReaders(name),
		}
	}
	return q
}

// admitRead waits until a read of the reader may run. The caller must call done after the read. The
// error is errTooManyReads, or that of ctx.
func (q *readQueue) admitRead(ctx context.Context, group groupID, subject string) (done func(), err error) {
	q.mu.Lock()
	r := q.findReader(group, subject)
	done = func() { q.endRead(r) }
	if q.canRun(r) {
		q.startRead(r)
		q.mu.Unlock()
		return done, nil
	}

	w, err := q.enqueueRead(r)
	q.mu.Unlock()
	if err != nil {
		return nil, err
	}

	err = q.awaitTurn(ctx, r, w)
	if err != nil {
		return nil, err
	}
	return done, nil
}

// findReader returns the reader, and creates it if it has no reads.
func (q *readQueue) findReader(group groupID, subject string) *reader {
	g := &q.groups[group]
	r := g.readers[subject]
	if r == nil {
		r = &reader{
			group:   g,
			subject: subject,
		}
		g.readers[subject] = r
	}
	return r
}

// canRun reports whether a read of the reader can run at once. No waiting read is overtaken: as long
// as a read waits that could run, no slot is free for it.
func (q *readQueue) canRun(r *reader) bool {
	return q.running < q.slots && r.group.running < q.groupSlots && r.running < q.readerSlots
}

func (q *readQueue) startRead(r *reader) {
	q.running++
	r.group.running++
	r.running++
	r.group.metrics.running.Inc()
}

// enqueueRead adds a waiting read of the reader. If too many reads of the group wait, it refuses
// the newest read of the reader that has the most of them. This may be the new read.
func (q *readQueue) enqueueRead(r *reader) (*waitingRead, error) {
	g := r.group
	if g.waiting >= q.maxWaiting {
		g.metrics.refusedFull.Inc()
		longest := g.findLongestReader()
		if len(longest.waiting) <= len(r.waiting)+1 {
			q.updateReader(r)
			return nil, errTooManyReads
		}
		newest := longest.waiting[len(longest.waiting)-1]
		q.removeWaiting(longest, newest)
		newest.result <- errTooManyReads
	}

	w := &waitingRead{result: make(chan error, 1)}
	r.waiting = append(r.waiting, w)
	g.waiting++
	g.metrics.waiting.Inc()
	q.updateReader(r)
	return w, nil
}

func (g *readerGroup) findLongestReader() *reader {
	var longest *reader
	for _, r := range g.readers {
		if longest == nil || len(r.waiting) > len(longest.waiting) {
			longest = r
		}
	}
	return longest
}

// awaitTurn waits until the read may run.
func (q *readQueue) awaitTurn(ctx context.Context, r *reader, w *waitingRead) error {
	timer := time.NewTimer(q.patience)
	defer timer.Stop()

	select {
	case err := <-w.result:
		return err
	case <-timer.C:
		return q.expireRead(r, w)
	case <-ctx.Done():
		q.abandonRead(r, w)
		return ctx.Err()
	}
}

// expireRead refuses a read that has waited for too long, unless it has just got its result.
func (q *readQueue) expireRead(r *reader, w *waitingRead) error {
	q.mu.Lock()
	defer q.mu.Unlock()

	select {
	case result := <-w.result:
		return result
	default:
		r.group.metrics.refusedTimeout.Inc()
		q.removeWaiting(r, w)
		return errTooManyReads
	}
}

// abandonRead removes a read whose client has disconnected. If the read has just got a slot, the
// slot goes to the next read.
func (q *readQueue) abandonRead(r *reader, w *waitingRead) {
	q.mu.Lock()
	defer q.mu.Unlock()

	select {
	case result := <-w.result:
		if result == nil {
			q.releaseSlot(r)
		}
	default:
		q.removeWaiting(r, w)
	}
}

// removeWaiting removes a waiting read from its reader's queue.
func (q *readQueue) removeWaiting(r *reader, w *waitingRead) {
	i := slices.Index(r.waiting, w)
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.group.waiting--
	r.group.metrics.waiting.Dec()
	q.updateReader(r)
}

// updateReader puts the reader into the turns of its group or removes it from them, and forgets a
// reader without reads. It is called after each change of the reader.
func (q *readQueue) updateReader(r *reader) {
	hasTurn := len(r.waiting) > 0 && r.running < q.readerSlots
	switch {
	case hasTurn && r.turn == nil:
		r.turn = r.group.turns.PushBack(r)
	case !hasTurn && r.turn != nil:
		r.group.turns.Remove(r.turn)
		r.turn = nil
	}

	if len(r.waiting) == 0 && r.running == 0 {
		delete(r.group.readers, r.subject)
	}
}

// endRead ends a read that ran.
func (q *readQueue) endRead(r *reader) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.releaseSlot(r)
}

// releaseSlot frees the slot of a reader and starts the waiting reads that can run now.
func (q *readQueue) releaseSlot(r *reader) {
	q.running--
	r.group.running--
	r.running--
	r.group.metrics.running.Dec()
	q.updateReader(r)

	for q.running < q.slots {
		g := q.chooseGroup()
		if g == nil {
			return
		}
		q.startNextRead(g)
	}
}

// chooseGroup returns the group that gets the next slot, or nil if no read can run.
func (q *readQueue) chooseGroup() *readerGroup {
	var chosen *readerGroup
	for i := range q.groups {
		g := &q.groups[i]
		if g.turns.Len() == 0 || g.running >= q.groupSlots {
			continue
		}
		if chosen == nil || g.running < chosen.running {
			chosen = g
		}
	}
	return chosen
}

// startNextRead starts the oldest read of the reader whose turn it is. The reader's next turn comes
// after those of the others.
func (q *readQueue) startNextRead(g *readerGroup) {
	r := g.turns.Remove(g.turns.Front()).(*reader)
	r.turn = nil

	w := r.waiting[0]
	r.waiting = slices.Delete(r.waiting, 0, 1)
	g.waiting--
	g.metrics.waiting.Dec()
	q.startRead(r)
	q.updateReader(r)
	w.result <- nil
}
