package wallet

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// scheduler makes batches of the requests in the queue and passes them to committers. Batches that
// run at the same time have no subject in common, so they rarely wait for each other's row locks.
// Requests with a common subject run in the order in which they were admitted. doc.go has the state
// chart of the scheduler.
type scheduler struct {
	queue    <-chan *request
	maxBatch int
	finished chan *committer
	cache    *commitCache // nil if the store has no optimistic writes
	state    schedulerState

	waiting []*request   // admitted requests in order, at most maxBatch
	free    []*committer // committers without a batch

	// The subjects and calls of the running batches.
	running      int                    // number of requests in running batches
	busy         map[subject]*committer // the committer whose batch has the subject
	runningCalls map[callID]int         // number of running requests of a call

	// The subjects and calls of the requests that selectBatch has skipped.
	blocked      map[subject]bool
	blockedCalls map[callID]bool

	// The limits of gathering. measureLoad sets them.
	callers    int           // estimated number of concurrent callers
	targetSize int           // a batch of this size starts at once
	maxWait    time.Duration // a smaller batch starts after this time
}

// schedulerState is the event that the waiting requests wait for.
type schedulerState int

const (
	idle      schedulerState = iota // no request waits
	gathering                       // a committer is free, but the batch may grow until maxWait is over
	blocked                         // a committer is free, but each waiting request has a busy subject
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
		running:  &l.running,
		writes:   l.writes,
		cache:    cache,
		attempts: make(map[uuid.UUID]*request),
	}
}

// run starts batches until ctx ends and no request is left in the queue or in a batch.
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
		hasWork := s.state != idle || s.running > 0
		if draining && !hasWork {
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

// setState sets the state. It starts the timer when gathering begins and stops it when gathering
// ends.
func (s *scheduler) setState(state schedulerState, gatherTimer *time.Timer) {
	if state != gathering {
		gatherTimer.Stop()
	} else if s.state != gathering {
		gatherTimer.Reset(s.maxWait)
	}

	s.state = state
}

// admitQueued admits requests from the queue until the queue is empty or maxBatch requests wait.
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

// startBatches starts batches until no request waits, no committer is free or the rest must wait.
// It returns the resulting state. If now is set, no batch waits for more requests.
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

// maxBatchBytes bounds the metadata in one batch, and so the size of the statement.
const maxBatchBytes = 1 << 20

// selectBatch moves waiting requests into the committer's batch. It skips a request that must wait
// for a running batch or for an earlier request that was skipped.
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

// isBlocked reports whether the request must wait.
func (s *scheduler) isBlocked(r *request) bool {
	for _, subject := range r.waitSubjects() {
		if s.busy[subject] != nil || s.blocked[subject] {
			return true
		}
	}

	if !r.userUnknown {
		return false
	}

	return s.runningCalls[r.callID] > 0 || s.blockedCalls[r.callID]
}

// markBlocked blocks the later requests that have a subject in common with r.
func (s *scheduler) markBlocked(r *request) {
	for _, subject := range r.busySubjects() {
		s.blocked[subject] = true
	}

	if r.callID != 0 {
		s.blockedCalls[r.callID] = true
	}
}

// markBusy marks the subjects and calls of the committer's batch as running.
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

// finishBatch frees a committer whose batch has ended.
func (s *scheduler) finishBatch(c *committer) {
	s.measureLoad(c)
	s.markFree(c)
	s.running -= len(c.batch)
	clear(c.batch)
	s.free = append(s.free, c)
}

// markFree undoes markBusy.
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

// measureLoad sets the limits of gathering after the batch of c was answered.
//
// The callers of that batch are likely to send their next requests now. If the next batch did not
// wait for them, large batches would alternate with very small ones. So a batch waits for its share
// of the callers, but at most half the duration of the last commit. With a single caller the target
// size is 1, so its requests do not wait.
func (s *scheduler) measureLoad(c *committer) {
	s.callers = max(s.running+len(s.waiting), s.callers*7/8)
	batches := cap(s.finished) // number of batches that share the callers
	if s.isBottleneck(c) {
		batches = 1
	}

	share := (s.callers + batches - 1) / batches
	s.targetSize = min(share, s.maxBatch)
	s.maxWait = min(time.Since(c.startedAt)/2, gatherLimit)
}

// isBottleneck reports whether most waiting requests wait for the batch of c. Then most requests
// concern the same few accounts, and only one committer has work.
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
