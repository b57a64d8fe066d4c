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

func (x *Index) recheckTopic(ctx context.Context, s *shard, t *topic, fromLedger bool) error {
	s.mu.Lock()
	generation := t.generation
	inStream := t.run.Newest()
	s.mu.Unlock()

	fetchState := x.cfg.Fetcher.FetchLedgerState
	if !fromLedger {
		fetchState = func(ctx context.Context, account string) (fetch.State, error) {
			return x.cfg.Fetcher.FetchState(ctx, account, 0)
		}
	}

	b, err := fetchState(ctx, t.account)
	if err != nil {
		return fmt.Errorf("recheck account: %w", err)
	}

	var gaps []*Feed
	s.mu.Lock()
	if t.generation == generation {
		gaps = x.compareFeeds(s, t, b, inStream)
	}

	s.mu.Unlock()
	x.repairFeeds(gaps)

	return nil
}

// compareFeeds compares the live feeds of a topic with the state. It returns the feeds that must be
// repaired. The caller holds the mutex of the shard.
func (x *Index) compareFeeds(s *shard, t *topic, b fetch.State, inStream int64) (gaps []*Feed) {
	state := statePoint(&b.Balance)
	if b.FromLedger {
		page := ledgerPage{points: []point{state}, last: b.Seq, readBefore: inStream}
		gaps = x.checkMemory(s, t, nil, &page)
	}

	for _, f := range t.feeds {
		switch {
		case f.state != live:
			continue
		case f.last == state:
			f.suspect = f.suspect && !b.FromLedger
			continue
		case f.last.seq < state.seq:
			f.knownSeq = state.seq
		default:
			f.suspect = true
		}

		f.state = catchingUp
		gaps = append(gaps, f)
	}

	return gaps
}
