package feed

import (
	"errors"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/fetch"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A startKind says how an account of a new subscription begins.
type startKind uint8

const (
	startSnapshot    startKind = iota // with the balance, since the client named no seq
	startRecovered                    // with the events after the client's after
	startUnavailable                  // with a resync: these events are not available
	startChanged                      // with a resync: the ledger does not have the client's history
)

// A feedStart describes where an account of a new subscription begins.
type feedStart struct {
	kind       startKind
	at         point
	balance    fetch.State // unless recovered
	fromLedger bool        // at was read from the ledger
	page       eventPage   // the first events, if they were read from the history
	ledger     *ledgerPage // the answer of the ledger; nil if it was not asked
	generation uint64      // of the topic before the reads
	inStream   int64       // the newest seq of the topic before the reads
}

// openFeed finds the start of a feed. The feed is then catching up. It looks again if the account's
// history changed in the meantime.
func (x *Index) openFeed(f *Feed, r *request.Request) (feedStart, error) {
	for {
		p := f.readProgress()
		start, err := x.findStart(f, r, p)
		if err != nil {
			return feedStart{}, err
		}

		start.generation = p.generation
		start.inStream = p.inStream
		if x.startFeed(f, &start) {
			return start, nil
		}
	}
}

// startFeed makes the feed catch up from the start. It returns false if the start was read before
// the account's history changed.
func (x *Index) startFeed(f *Feed, start *feedStart) bool {
	f.shard.mu.Lock()
	t := f.topic
	if t.generation != start.generation {
		f.shard.mu.Unlock()
		return false
	}

	var gaps []*Feed
	if start.ledger != nil {
		gaps = x.checkMemory(f.shard, t, f, start.ledger)
	}

	start.page.generation = t.generation
	f.last = start.at
	f.shown = start.at
	f.knownSeq = max(f.knownSeq, start.at.seq)
	f.streamMayDiffer = start.fromLedger || start.at.seq < start.inStream
	f.suspect = false
	if start.ledger != nil && start.kind == startRecovered {
		f.knownSeq = max(f.knownSeq, start.ledger.last)
	}

	if f.state == opening {
		f.state = catchingUp
	}
	f.shard.mu.Unlock()

	x.repairFeeds(gaps)
	return true
}

// startAtState returns the start with the balance.
func startAtState(kind startKind, b fetch.State) feedStart {
	return feedStart{
		kind:       kind,
		at:         statePoint(&b.Balance),
		balance:    b,
		fromLedger: b.FromLedger,
	}
}

// A claim is what a client says about the point that it has reached.
type claim struct {
	point

	hasChain bool
}

// fits reports whether the claim can be true in a history that has the chain at the claim's seq.
func (c claim) fits(chain bus.Chain) bool {
	return !c.hasChain || c.chain == chain
}

// findStart finds the start of a feed, from the memory, the balance in Redis or the ledger.
func (x *Index) findStart(f *Feed, r *request.Request, p progress) (feedStart, error) {
	account := f.topic.account
	after, resumes := r.After[account]
	if !resumes {
		b, err := x.cfg.Fetcher.FetchState(x.cfg.Context, account, 0)
		return startAtState(startSnapshot, b), err
	}

	chain, hasChain := r.Chain[account]
	c := claim{point: point{seq: after, chain: chain}, hasChain: hasChain}
	if !hasChain && f.wasRewound(after) {
		// The client may also have events that replaced those that never happened, and Redis may be
		// behind them. Only the ledger's balance is never older than the client's events.
		b, err := x.cfg.Fetcher.FetchLedgerState(x.cfg.Context, account)
		return startAtState(startChanged, b), err
	}

	if x.cfg.Current(account) {
		chain, isInMemory := f.chainInMemory(after)
		if isInMemory && c.fits(chain) {
			return feedStart{kind: startRecovered, at: point{seq: after, chain: chain}}, nil
		}
	}

	b, stateErr := x.cfg.Fetcher.FetchState(x.cfg.Context, account, 0)
	if stateErr == nil && b.Seq == after && c.fits(b.Chain) {
		return feedStart{
			kind:       startRecovered,
			at:         statePoint(&b.Balance),
			fromLedger: b.FromLedger,
		}, nil
	}

	// Either the client missed events, or it has other events than this gateway, because another
	// gateway was ahead or because the ledger went back. The ledger knows.
	key := fetch.PageKey{
		Account:    account,
		After:      max(0, after-1),
		Limit:      x.cfg.MaxReplay + 1,
		Generation: p.generation,
		Newest:     p.newest,
	}
	page, historyErr := x.cfg.Fetcher.FetchEvents(x.cfg.Context, key)
	if historyErr != nil {
		return startWithoutLedger(c, b, stateErr, historyErr)
	}

	start, err := x.startFromPage(account, c, page)
	if err != nil {
		return feedStart{}, errors.Join(stateErr, err)
	}

	start.ledger = &ledgerPage{
		points:     pointsOf(page.Events, p.inStream),
		last:       page.Last,
		readBefore: p.inStream,
	}

	return start, nil
}

// startFromPage finds the start of a client that resumes, with a page of the history that begins
// with the client's newest event.
func (x *Index) startFromPage(account string, c claim, page fetch.Page) (feedStart, error) {
	known := c.point
	if !c.hasChain {
		known.chain = 0
		if len(page.Events) > 0 && page.Events[0].Seq == c.seq {
			known.chain = page.Events[0].Chain
		}
	}

	verdict := compareHistory(known, page)
	isTooMuch := page.Last-c.seq > int64(x.cfg.MaxReplay)
	switch {
	case verdict == pageOther:
		b, err := x.cfg.Fetcher.FetchLedgerState(x.cfg.Context, account)
		return startAtState(startChanged, b), err
	case verdict == pageContinues && !isTooMuch:
		return feedStart{
			kind:       startRecovered,
			at:         known,
			fromLedger: true,
			page:       eventPage{events: page.Events},
		}, nil
	case isTooMuch:
		x.cfg.Metrics.CountLimit(metrics.LimitReplay)
	}

	if verdict == pageIncomplete && c.hasChain {
		b, err := x.cfg.Fetcher.FetchLedgerState(x.cfg.Context, account)
		kind := startUnavailable
		if b.Seq < c.seq || isOtherHistory(statePoint(&b.Balance), c.point) {
			kind = startChanged
		}

		return startAtState(kind, b), err
	}

	b, err := x.cfg.Fetcher.FetchState(x.cfg.Context, account, c.seq)
	return startAtState(startUnavailable, b), err
}

var errBehind = errors.New("the balance must include the event that the client resumes after")

// startWithoutLedger finds the start of a client that resumes while the ledger is not available. b
// is the balance in Redis, unless stateErr is not nil.
func startWithoutLedger(
	c claim, b fetch.State, stateErr, historyErr error,
) (feedStart, error) {
	hasNoLedger := errors.Is(historyErr, fetch.ErrNoHistory)
	switch {
	case stateErr != nil:
		return feedStart{}, errors.Join(stateErr, historyErr)
	case b.Seq > c.seq:
		return startAtState(startUnavailable, b), nil
	case hasNoLedger:
		return startAtState(startChanged, b), nil
	}

	// Another gateway may have been ahead, so the balance in Redis does not show whether the
	// ledger went back. The client must not be shown an older balance.
	return feedStart{}, errors.Join(errBehind, historyErr)
}

// wasRewound reports whether the event with the seq may be one that never happened.
func (f *Feed) wasRewound(seq int64) bool {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	return f.shard.rewinds.isVoid(f.topic.account, seq)
}

// chainInMemory returns the chain at the seq. known is false unless it and all events after the seq
// are in memory.
func (f *Feed) chainInMemory(after int64) (chain bus.Chain, known bool) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if !f.topic.run.HoldsAfter(after) {
		return 0, false
	}

	return f.shard.memory.ChainAt(&f.topic.run, after)
}
