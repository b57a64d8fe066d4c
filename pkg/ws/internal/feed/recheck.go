package feed

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/ws/internal/fetch"
)

// Recheck implements ws.Hub.Recheck.
func (x *Index) Recheck(ctx context.Context, fromLedger bool) error {
	var g errgroup.Group
	g.SetLimit(x.cfg.Rechecks)
	for i := range x.shards {
		for _, t := range x.shards[i].subscribedTopics() {
			g.Go(func() error { return x.recheckTopic(ctx, &x.shards[i], t, fromLedger) })
		}
	}

	return g.Wait()
}

// recheckTopic compares the feeds of a topic with its balance. It looks again if the account's history
// changed in the meantime.
func (x *Index) recheckTopic(ctx context.Context, s *shard, t *topic, fromLedger bool) error {
	fetchState := x.cfg.Fetcher.FetchLedgerState
	if !fromLedger {
		fetchState = func(ctx context.Context, account string) (fetch.State, error) {
			return x.cfg.Fetcher.FetchState(ctx, account, 0)
		}
	}

	for {
		s.mu.Lock()
		generation := t.generation
		inStream := t.run.Newest()
		s.mu.Unlock()

		b, err := fetchState(ctx, t.account)
		if err != nil {
			return fmt.Errorf("recheck account: %w", err)
		}

		s.mu.Lock()
		isCurrent := t.generation == generation
		var gaps []*Feed
		if isCurrent {
			gaps = x.compareFeeds(s, t, b, inStream)
		}
		s.mu.Unlock()

		x.repairFeeds(gaps)
		if isCurrent {
			return nil
		}
	}
}

// compareFeeds compares the feeds of a topic with the state. It returns the feeds that must be
// repaired. What feeds that are not live read at the moment may be older than the state, so they read
// again. The caller holds the mutex of the shard.
func (x *Index) compareFeeds(s *shard, t *topic, b fetch.State, inStream int64) (gaps []*Feed) {
	state := statePoint(&b.Balance)
	if b.FromLedger {
		page := ledgerPage{points: []point{state}, last: b.Seq, readBefore: inStream}
		gaps = x.checkMemory(s, t, nil, &page)
	}

	readAgain := false
	for _, f := range t.feeds {
		differs := f.compareState(state, b.FromLedger)
		if f.state != live {
			readAgain = true
			continue
		}

		if differs {
			readAgain = true
			f.state = catchingUp
			gaps = append(gaps, f)
		}
	}

	if readAgain {
		t.generation = s.nextGeneration()
	}

	return gaps
}

// compareState reports whether the feed is behind the state, or may have another history. The caller
// holds the mutex of the shard.
func (f *Feed) compareState(state point, fromLedger bool) (differs bool) {
	switch {
	case f.state == opening || f.last.seq < state.seq:
		f.knownSeq = max(f.knownSeq, state.seq)
	case f.last == state:
		f.suspect = f.suspect && !fromLedger
		return false
	case f.includesInMemory(state):
		return false // newer events were delivered after the state was read
	default:
		f.suspect = true
	}

	return true
}

// includesInMemory reports whether the memory shows that the feed's last event follows the point in
// the same history. The caller holds the mutex of the shard.
func (f *Feed) includesInMemory(p point) bool {
	run := &f.topic.run
	before, isKnown := f.shard.memory.ChainAt(run, p.seq)
	if !isKnown || before != p.chain {
		return false
	}

	last, isKnown := f.shard.memory.ChainAt(run, f.last.seq)
	return isKnown && last == f.last.chain
}
