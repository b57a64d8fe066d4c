package wallet

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// lanes commit what gathers in the queue, several batches at a time. Batches
// that are under way together name no account and no escrow twice, so they hardly
// ever wait for each other's row locks; requests that name the same one are done
// in the order in which they came.
type lanes struct {
	queue    <-chan *request
	maxBatch int
	free     []*lane
	ended    chan *lane

	waiting []*request        // taken from the queue, in order; maxBatch at most
	busy    map[subject]*lane // what the batches under way name
	behind  map[subject]bool  // what requests name that stay behind while a batch is picked
	calls   map[*Result]int   // how many requests of a call are under way
	left    map[*Result]bool  // calls of which requests stay behind while a batch is picked
	under   int               // requests under way
	recent  *recent           // what the lanes remember together; nil: nothing

	callers  int           // how many seem to ask, over the last batches
	want     int           // a batch of so many waits for no more
	patience time.Duration // how long a smaller one waits
}

// lane is a batcher and the batch that it commits.
type lane struct {
	batcher
	batch []*request
	began time.Time
}

func newLanes(l *Ledger) *lanes {
	n := l.store.lanes()
	s := &lanes{
		queue: l.queue, maxBatch: l.cfg.MaxBatch, ended: make(chan *lane, n),
		busy: make(map[subject]*lane), behind: make(map[subject]bool), want: 1,
		calls: make(map[*Result]int), left: make(map[*Result]bool),
	}
	if l.store.checks() {
		s.recent = &recent{}
	}
	for range n {
		s.free = append(s.free, &lane{batcher: batcher{store: l.store, cfg: l.cfg, metrics: l.metrics, recent: s.recent, mine: make(map[uuid.UUID]*request)}})
	}
	return s
}

// run commits batches until ctx ends, then what is queued. What comes while
// commits are under way goes into the next one; an operation that comes alone is
// committed alone, at once.
func (s *lanes) run(ctx context.Context) {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	stop := ctx.Done()
	waits, late := false, false // whether the timer runs; whether it ran out
	for {
		s.take()
		switch short := s.start(late || stop == nil); {
		case !short:
			timer.Stop()
			waits = false
		case !waits:
			timer.Reset(s.patience)
			waits = true
		}
		late = false
		if stop == nil && s.under == 0 && len(s.waiting) == 0 {
			return
		}
		queue := s.queue
		if len(s.waiting) >= s.maxBatch || stop == nil {
			queue = nil
		}
		select {
		case r := <-queue:
			s.come(r)
		case l := <-s.ended:
			s.end(l)
		case <-timer.C:
			waits, late = false, true
		case <-stop:
			stop = nil
		}
	}
}

// take adds what is in the queue.
func (s *lanes) take() {
	for len(s.waiting) < s.maxBatch {
		select {
		case r := <-s.queue:
			s.come(r)
		default:
			return
		}
	}
}

func (s *lanes) come(r *request) {
	if r.op.Account == "" && s.recent != nil {
		user := s.recent.user(r.op.EscrowID)
		if user != "" {
			r.named[r.names] = subject{account: user}
			r.names++
		} else if r.call != nil {
			r.named[r.names] = subject{call: r.call}
			r.names++
			r.anyone = true
		}
	}
	s.waiting = append(s.waiting, r)
}

// start hands batches to free lanes. With short, a lane stays free only because
// there is hope that the batch grows.
func (s *lanes) start(hurry bool) (short bool) {
	for len(s.free) > 0 && len(s.waiting) > 0 {
		if !hurry && len(s.waiting) < s.want {
			return true
		}
		l := s.free[len(s.free)-1]
		if s.pick(l); len(l.batch) == 0 {
			return false
		}
		s.free = s.free[:len(s.free)-1]
		s.under += len(l.batch)
		l.began = time.Now()
		go func() {
			l.process(l.batch)
			s.ended <- l
		}()
	}
	return false
}

// maxBatchBytes bounds the metadata in one batch, and with it the statement.
const maxBatchBytes = 1 << 20

// pick moves into the lane's batch what waits and names nothing that is busy, or
// that a request before it waits for.
func (s *lanes) pick(l *lane) {
	l.batch = l.batch[:0]
	rest, size := s.waiting[:0], 0
	clear(s.behind)
	clear(s.left)
	for _, r := range s.waiting {
		stays := size >= maxBatchBytes || (r.anyone && (s.calls[r.call] > 0 || s.left[r.call]))
		for _, n := range r.waitsFor() {
			stays = stays || s.busy[n] != nil || s.behind[n]
		}
		if stays {
			for _, n := range r.subjects() {
				s.behind[n] = true
			}
			if r.call != nil {
				s.left[r.call] = true
			}
			rest = append(rest, r)
			continue
		}
		l.batch = append(l.batch, r)
		size += len(r.op.Metadata)
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
	for _, r := range l.batch {
		for _, n := range r.subjects() {
			s.busy[n] = l
		}
		if r.call != nil {
			s.calls[r.call]++
		}
	}
}

// maxPatience bounds how long a batch waits for callers.
const maxPatience = 3 * time.Millisecond

// end takes a lane back, and decides how large the next batch should be. Callers
// that have just been answered are about to ask again: without waiting for them,
// for half of this commit's time at most, batches of all and of hardly any
// callers would take turns. With one caller nothing more is expected, so nothing
// waits.
func (s *lanes) end(l *lane) {
	blocked := 0
	for _, r := range s.waiting {
		for _, n := range r.subjects() {
			if s.busy[n] == l {
				blocked++
				break
			}
		}
	}
	s.callers = max(s.under+len(s.waiting), s.callers*7/8)
	lanes := cap(s.ended)
	if 2*blocked > len(s.waiting) {
		lanes = 1 // they ask for the same few accounts: one lane has work
	}
	s.want = min((s.callers+lanes-1)/lanes, s.maxBatch)
	s.patience = min(time.Since(l.began)/2, maxPatience)

	for _, r := range l.batch {
		for _, n := range r.subjects() {
			delete(s.busy, n)
		}
		if r.call != nil {
			if s.calls[r.call]--; s.calls[r.call] == 0 {
				delete(s.calls, r.call)
			}
		}
	}
	s.under -= len(l.batch)
	clear(l.batch)
	s.free = append(s.free, l)
}
