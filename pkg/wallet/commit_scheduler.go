package wallet

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// scheduler makes batches of the requests in the queue and hands them to committers. Batches that
// run at the same time have no subject in common, so they hardly ever wait for each other's row
// locks. Requests with a common subject run in the order in which they came. doc.go has the chart
// of its states.
type scheduler struct {
	queue    <-chan *request
	maxBatch int
	finished chan *committer
	cache    *commitCache // nil: the store's writes check nothing, so nothing may be cached
	state    schedulerState

	waiting []*request   // admitted, in order; at most maxBatch
	free    []*committer // without a batch

	// The subjects and calls of the running batches.
	running      int                    // requests in running batches
	busy         map[subject]*committer // the committer whose batch names the subject
	runningCalls map[callID]int         // how many requests of a call run

	// The subjects and calls that stay behind while selectBatch goes through the waiting requests.
	blocked      map[subject]bool
	blockedCalls map[callID]bool

	// How long a batch gathers requests; measureLoad sets them.
	callers    int           // estimate of how many callers ask, from the last batches
	targetSize int           // a batch of this size waits for no more requests
	maxWait    time.Duration // a smaller batch waits no longer than this
}

// schedulerState says which event the waiting requests wait for.
type schedulerState int

const (
	idle      schedulerState = iota // no request waits
	gathering                       // a committer is free; the batch may grow until maxWait is over
	blocked                         // a committer is free; each waiting request has a busy subject
	saturated                       // no committer is free
)

func newScheduler(l *Ledger) *scheduler {
	committers := l.store.committerCount()
	s := &scheduler{
		queue:        l.queue,
		maxBatch:     l.cfg.MaxBatch,
		finished:     make(chan *committer, committers),
		busy:         make(map[subject]*committer),
		runningCalls: make(map[callID]int),
		blocked:      make(map[subject]bool),
		blockedCalls: make(map[callID]bool),
		targetSize:   1,
	}

	if l.store.optimisticWrites() {
		s.cache = &commitCache{}
	}

	for range committers {
		s.free = append(s.free, newCommitter(l, s.cache))
	}

	return s
}

func newCommitter(l *Ledger, cache *commitCache) *committer {
	return &committer{
		store:    l.store,
		cfg:      l.cfg,
		metrics:  l.metrics,
		cache:    cache,
		attempts: make(map[uuid.UUID]*request),
	}
}

// run starts batches until ctx ends and the queue is empty.
func (s *scheduler) run(ctx context.Context) {
	gatherTimer := time.NewTimer(0)
	<-gatherTimer.C
	defer gatherTimer.Stop()
	stop := ctx.Done()
	draining := false // ctx has ended
	gathered := false // maxWait is over
	for {
		s.admitQueued()
		s.setState(s.startBatches(draining || gathered), gatherTimer)
		gathered = false
		if draining && s.state == idle && s.running == 0 {
			return
		}

		queue := s.queue
		if draining || len(s.waiting) >= s.maxBatch {
			queue = nil
		}

		select {
		case r := <-queue:
			s.admitRequest(r)
		case c := <-s.finished:
			s.finishBatch(c)
		case <-gatherTimer.C:
			gathered = true
		case <-stop:
			stop = nil
			draining = true
		}
	}
}

// setState runs the timer while the state is gathering.
func (s *scheduler) setState(state schedulerState, gatherTimer *time.Timer) {
	if state != gathering {
		gatherTimer.Stop()
	} else if s.state != gathering {
		gatherTimer.Reset(s.maxWait)
	}
	s.state = state
}

// admitQueued admits what is in the queue, as far as there is room.
func (s *scheduler) admitQueued() {
	for len(s.waiting) < s.maxBatch {
		select {
		case r := <-s.queue:
			s.admitRequest(r)
		default:
			return
		}
	}
}

func (s *scheduler) admitRequest(r *request) {
	r.addEscrowUser(s.cache)
	s.waiting = append(s.waiting, r)
}

// startBatches hands batches to free committers until one of the two runs out, or the rest has to
// wait. It returns the state that results. With now, no batch gathers.
func (s *scheduler) startBatches(now bool) schedulerState {
	for {
		switch {
		case len(s.waiting) == 0:
			return idle
		case len(s.free) == 0:
			return saturated
		case !now && len(s.waiting) < s.targetSize:
			return gathering
		}

		last := len(s.free) - 1
		c := s.free[last]
		s.selectBatch(c)
		if len(c.batch) == 0 {
			return blocked
		}

		s.free = s.free[:last]
		s.startBatch(c)
	}
}

func (s *scheduler) startBatch(c *committer) {
	s.running += len(c.batch)
	c.startedAt = time.Now()
	go func() {
		c.commitBatch(c.batch)
		s.finished <- c
	}()
}

// maxBatchBytes bounds the metadata in one batch, and with it the statement.
const maxBatchBytes = 1 << 20

// selectBatch moves those waiting requests into the committer's batch that need not wait for a
// running batch, nor for a request that stays behind.
func (s *scheduler) selectBatch(c *committer) {
	clear(s.blocked)
	clear(s.blockedCalls)
	c.batch = c.batch[:0]
	rest := s.waiting[:0]
	size := 0
	for _, r := range s.waiting {
		if size >= maxBatchBytes || s.isBlocked(r) {
			s.markBlocked(r)
			rest = append(rest, r)
			continue
		}

		c.batch = append(c.batch, r)
		size += len(r.op.Metadata)
	}

	clear(s.waiting[len(rest):])
	s.waiting = rest
	s.markBusy(c)
}

func (s *scheduler) isBlocked(r *request) bool {
	for _, subject := range r.waitSubjects() {
		if s.busy[subject] != nil || s.blocked[subject] {
			return true
		}
	}
	return r.userUnknown && (s.runningCalls[r.callID] > 0 || s.blockedCalls[r.callID])
}

// markBlocked makes the requests after r that have a subject of r wait for it.
func (s *scheduler) markBlocked(r *request) {
	for _, subject := range r.busySubjects() {
		s.blocked[subject] = true
	}
	if r.callID != 0 {
		s.blockedCalls[r.callID] = true
	}
}

func (s *scheduler) markBusy(c *committer) {
	for _, r := range c.batch {
		for _, subject := range r.busySubjects() {
			s.busy[subject] = c
		}
		if r.callID != 0 {
			s.runningCalls[r.callID]++
		}
	}
}

// finishBatch takes a committer back whose batch was answered.
func (s *scheduler) finishBatch(c *committer) {
	s.measureLoad(c)
	s.markFree(c)
	s.running -= len(c.batch)
	clear(c.batch)
	s.free = append(s.free, c)
}

func (s *scheduler) markFree(c *committer) {
	for _, r := range c.batch {
		for _, subject := range r.busySubjects() {
			delete(s.busy, subject)
		}

		if r.callID == 0 {
			continue
		}

		s.runningCalls[r.callID]--
		if s.runningCalls[r.callID] == 0 {
			delete(s.runningCalls, r.callID)
		}
	}
}

// gatherLimit bounds maxWait.
const gatherLimit = 3 * time.Millisecond

// measureLoad decides how large the next batch should be, when c's batch has just been answered.
// Its callers are about to ask again. If the next batch did not wait for them, batches of all
// callers would alternate with batches of hardly any. A batch waits for its share of the callers,
// but no longer than half the time of the last commit. A lone caller is not waited for, since the
// target is then 1.
func (s *scheduler) measureLoad(c *committer) {
	s.callers = max(s.running+len(s.waiting), s.callers*7/8)
	sharers := cap(s.finished)
	if s.isBottleneck(c) {
		sharers = 1
	}
	share := (s.callers + sharers - 1) / sharers
	s.targetSize = min(share, s.maxBatch)
	s.maxWait = min(time.Since(c.startedAt)/2, gatherLimit)
}

// isBottleneck reports whether most waiting requests wait for c's batch. Then they are about the
// same few accounts, and only one committer has work.
func (s *scheduler) isBottleneck(c *committer) bool {
	blockedByBatch := 0
	for _, r := range s.waiting {
		for _, subject := range r.busySubjects() {
			if s.busy[subject] == c {
				blockedByBatch++
				break
			}
		}
	}

	return 2*blockedByBatch > len(s.waiting)
}
