package wallet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// With a synchronous standby, Postgres shows the rows of a transaction only after the standby has
// them. There are three exceptions: somebody cancels or terminates the session that waits for the
// standby, the server restarts meanwhile, and a recovery shows all that the server had written. A
// failover then loses rows that could be read. So the ledger answers, shows and publishes such rows
// only after a proof: a transaction that began later was confirmed. The standby gets all changes in
// one order, so it then also has all that was visible before.
//
// An ordinary commit of this process is a proof, too.

// errUnproven means that no commit was confirmed in time, so that visible rows may be lost.
var errUnproven = errors.New("the database has not confirmed a commit in time; its synchronous standby may be away")

// proofs knows which visible rows survive a failover. A nil *proofs is that of a database without
// standbys, where all do.
type proofs struct {
	commitEmpty func(context.Context) error // commits a transaction that changes nothing
	generation  func() uint64               // of the store
	clockSkew   time.Duration               // the constant maxClockSkew; smaller in tests
	timeout     time.Duration               // the constant proofTimeout; smaller in tests

	mu        sync.Mutex // protects the fields below
	enabled   bool
	confirmed time.Time // when the newest confirmed commit began; all rows that were visible then are safe
	confirmer uint64    // the generation in which confirmed was set
	lostAt    time.Time // when a write was last lost: its session may still wait for the standby
	running   *proof
	next      *proof // waits for the end of running
	closed    bool
	done      sync.WaitGroup // the goroutine of running
}

// proof is one transaction that proves for all its waiters.
type proof struct {
	generation uint64
	cancel     context.CancelFunc
	done       chan struct{} // closed when err is set
	err        error
}

// proofTimeout bounds the wait for a proof.
const proofTimeout = 5 * time.Second

// maxClockSkew is more than the difference between the clocks of two cores and the time from a
// transaction's id to its commit. Rows that are older than the newest confirmed commit by more than
// that were visible when that commit began.
const maxClockSkew = time.Minute

func newProofs(commitEmpty func(context.Context) error, generation func() uint64) *proofs {
	return &proofs{
		commitEmpty: commitEmpty,
		generation:  generation,
		clockSkew:   maxClockSkew,
		timeout:     proofTimeout,
	}
}

// enable makes proveVisible prove. Commands that only read do not write to the database.
func (p *proofs) enable() {
	if p == nil {
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.enabled = true
}

// noteConfirmed records that a commit was confirmed. began and generation are those of its begin.
func (p *proofs) noteConfirmed(began time.Time, generation uint64) {
	if p == nil {
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirm(began, generation)
}

// confirm is noteConfirmed while p.mu is locked.
func (p *proofs) confirm(began time.Time, generation uint64) {
	isAfterLoss := began.After(p.lostAt)
	isNewer := generation > p.confirmer || began.After(p.confirmed)
	if isAfterLoss && isNewer && generation >= p.confirmer {
		p.confirmed = began
		p.confirmer = generation
	}
}

// noteLostWrite records that the outcome of a write is unknown. If a proof runs, its connection may
// be lost, too, so the next proof gets another one.
func (p *proofs) noteLostWrite() {
	if p == nil {
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.lostAt = time.Now()
	if p.running != nil {
		p.running.cancel()
	}
}

// proveAfterLoss proves if a write was lost and no commit was confirmed since. Further writes would
// only add sessions that wait for the standby.
func (p *proofs) proveAfterLoss(ctx context.Context) error {
	if p == nil || !p.hasLostWrite() {
		return nil
	}

	return p.prove(ctx, p.generation())
}

func (p *proofs) hasLostWrite() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.lostAt.IsZero() && !p.confirmed.After(p.lostAt)
}

// proveVisible returns when all rows survive a failover that the caller has read before. generation
// is that of the store before the read. newest is the time of the newest transaction among the rows,
// or zero. Rows that are much older than the newest confirmed commit need no proof.
func (p *proofs) proveVisible(ctx context.Context, generation uint64, newest time.Time) error {
	if p == nil {
		return nil
	}

	replaced, young, _ := p.findDoubts(generation, newest)
	if !replaced && !young {
		return nil
	}

	return p.prove(ctx, generation)
}

// proveRead is proveVisible for the queries of callers. They are many, so it also needs a reason for
// doubt about young rows: a write was lost.
func (p *proofs) proveRead(ctx context.Context, generation uint64, newest time.Time) error {
	if p == nil {
		return nil
	}

	replaced, young, lost := p.findDoubts(generation, newest)
	if !replaced && !(young && lost) {
		return nil
	}

	return p.prove(ctx, generation)
}

// findDoubts returns the reasons for doubt about visible rows: the server may be another one, or
// another run of it, than that of the newest confirmed commit; the rows may be younger than that
// commit; or a write was lost after it. There are none before enable was called.
func (p *proofs) findDoubts(generation uint64, newest time.Time) (replaced, young, lost bool) {
	current := p.generation()
	p.mu.Lock()
	defer p.mu.Unlock()

	if !p.enabled {
		return false, false, false
	}

	replaced = generation != current || p.confirmer != current
	young = newest.After(p.confirmed.Add(-p.clockSkew))
	lost = !p.confirmed.After(p.lostAt)
	return replaced, young, lost
}

// prove returns when a transaction is confirmed that began after the call. It fails if that was in
// another generation, because then it proves nothing about what was read before. Concurrent calls
// share one transaction, and only one runs at a time. So not each call leaves a session behind that
// waits for the standby.
func (p *proofs) prove(ctx context.Context, generation uint64) error {
	if p == nil {
		return nil
	}

	proof := p.joinProof()
	timeout := time.NewTimer(p.timeout)
	defer timeout.Stop()

	select {
	case <-proof.done:
		if proof.err == nil && proof.generation != generation {
			return fmt.Errorf("%w: the server was replaced", errUnproven)
		}

		return proof.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnproven, ctx.Err())
	case <-timeout.C:
		return fmt.Errorf("%w: %w", errUnproven, context.DeadlineExceeded)
	}
}

// joinProof returns a proof that has not begun, and begins it as soon as possible.
func (p *proofs) joinProof() *proof {
	generation := p.generation()
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.next == nil {
		p.next = &proof{done: make(chan struct{})}
	}

	joined := p.next
	switch {
	case p.running == nil:
		p.beginNext()
	case p.running.generation != generation:
		p.running.cancel() // it waits for a server that is gone
	}

	return joined
}

// beginNext begins the next proof. p.mu must be locked.
func (p *proofs) beginNext() {
	begun := p.next
	p.next = nil
	if p.closed {
		begun.err = fmt.Errorf("%w: the ledger is closed", errUnproven)
		close(begun.done)
		return
	}

	ctx, cancel := context.WithCancel(context.Background())
	begun.cancel = cancel
	begun.generation = p.generation()
	p.running = begun
	p.done.Go(func() { p.run(ctx, begun) })
}

func (p *proofs) run(ctx context.Context, begun *proof) {
	defer begun.cancel()
	began := time.Now()
	err := p.commitEmpty(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errUnproven, err)
	case p.generation() != begun.generation:
		err = fmt.Errorf("%w: the server was replaced", errUnproven)
	}

	p.mu.Lock()
	defer p.mu.Unlock()

	if err == nil {
		p.confirm(began, begun.generation)
	}

	begun.err = err
	close(begun.done)
	p.running = nil
	if p.next != nil {
		p.beginNext()
	}
}

// close ends the running proof.
func (p *proofs) close() {
	if p == nil {
		return
	}

	p.mu.Lock()
	p.closed = true
	if p.running != nil {
		p.running.cancel()
	}
	p.mu.Unlock()

	p.done.Wait()
}
