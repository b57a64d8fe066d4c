package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config is the publisher's optional settings.
type Config struct {
	Keys       bus.Keys              // Defaults to namespace "rt", 16 partitions.
	MaxLen     int64                 // entries that a stream keeps, about (XTRIM MAXLEN ~ after each call, of its first group's). Defaults to 1,000,000.
	DedupTTL   time.Duration         // how long a group's dedup key lives. Defaults to 1 h.
	MaxGroups  int                   // groups in one script call, so that Redis serves others in between. Defaults to 64.
	MaxBytes   int                   // payload in one script call, above which the next begins. Defaults to 1 MiB.
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// A Publication asks for one group to be published.
type Publication struct {
	Update bus.AccountUpdate
	// Base accepts the group as the account's starting point when Redis knows
	// nothing of the account. Set it only when every earlier group is known to be
	// published or not wanted: they are duplicates from then on. A group that
	// starts at 1 needs no Base.
	AsStartingPoint bool
}

// Outcome answers one publication.
type Outcome struct {
	Status bus.Status
	Last   int64 // the account's seq in Redis before this publication; -1: Redis has none. Not set when Unknown.
}

// Done tells whether Redis has the group.
func (o Outcome) Done() bool { return o.Status == bus.Published || o.Status == bus.Duplicate }

// Publisher writes groups to the streams. Its methods may be called from several
// goroutines.
type Publisher struct {
	rdb        redis.UniversalClient
	cfg        Config
	script     script
	names      []partitionNames
	ttlSeconds int64
	metrics    publisherMetrics
	apart      atomic.Bool // Redis wants each partition in calls of its own: it is a cluster
}

// New returns a publisher on the given client.
func New(rdb redis.UniversalClient, cfg Config) *Publisher {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.MaxLen = cmp.Or(cfg.MaxLen, 1_000_000)
	cfg.DedupTTL = cmp.Or(cfg.DedupTTL, time.Hour)
	cfg.MaxGroups = cmp.Or(cfg.MaxGroups, 64)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 1<<20)
	p := &Publisher{
		rdb:        rdb,
		cfg:        cfg,
		script:     newScript(publishSource),
		names:      namesOf(cfg.Keys),
		ttlSeconds: max(1, int64(cfg.DedupTTL/time.Second)),
		metrics:    newPublisherMetrics(cfg.Registerer),
	}
	_, cluster := rdb.(*redis.ClusterClient)
	p.apart.Store(cluster)
	return p
}

// Client is the client that the publisher writes with.
func (p *Publisher) Client() redis.UniversalClient { return p.rdb }

// Keys are the names that the publisher writes under.
func (p *Publisher) Keys() bus.Keys { return p.cfg.Keys }

// PartitionsApart reports whether Redis is a cluster, so that each partition is written by calls of its own.
func (p *Publisher) PartitionsApart() bool { return p.apart.Load() }

// Publish writes groups and answers for each what became of it, in the order
// given. Groups of one account are taken in that order; put them in order of
// seq. They go in one script call, up to the configured bounds, on Redis Cluster in one for
// each partition; all calls go in one pipeline. Each group is written whole or not at all, each
// stands alone, and the same groups may be sent again at any time.
//
// An error means that some calls failed: their outcomes are Unknown, the others
// count.
func (p *Publisher) Publish(ctx context.Context, pubs []Publication) ([]Outcome, error) {
	if len(pubs) == 0 {
		return nil, nil
	}
	start := time.Now()
	outcomes := make([]Outcome, len(pubs))
	calls := p.split(pubs, outcomes)
	p.script.run(ctx, p.rdb, calls)
	if len(callsWithError(calls, "CROSSSLOT")) > 0 {
		// It is a cluster behind one address. What the first calls published is a duplicate now.
		p.apart.Store(true)
		calls = p.split(pubs, outcomes)
		p.script.run(ctx, p.rdb, calls)
	}
	var failed error
	for _, c := range calls {
		if err := c.answer(outcomes); err != nil && failed == nil {
			failed = fmt.Errorf("publish: %w", err)
		}
	}
	p.metrics.count(pubs, outcomes)
	p.metrics.seconds.Observe(time.Since(start).Seconds())
	return outcomes, failed
}

// split makes the script calls. Publications that no call can carry are answered here.
func (p *Publisher) split(pubs []Publication, outcomes []Outcome) []*scriptCall {
	var calls []*scriptCall
	apart := p.apart.Load()
	open := make([]*scriptCall, 1) // the call that is being filled, of each partition when they are apart
	if apart {
		open = make([]*scriptCall, p.cfg.Keys.Partitions)
	}
	for i := range pubs {
		g := &pubs[i].Update
		size, valid := g.PayloadSize()
		if !valid {
			outcomes[i] = Outcome{Status: bus.Unwritable, Last: -1}
			continue
		}
		place := 0
		if apart {
			place = p.cfg.Keys.Partition(g.Account)
		}
		call := open[place]
		if call == nil || len(call.items) >= p.cfg.MaxGroups || call.bytes+size > p.cfg.MaxBytes {
			call = &scriptCall{}
			open[place] = call
			calls = append(calls, call)
		}
		call.items = append(call.items, i)
		call.bytes += size
	}
	for _, call := range calls {
		call.args = p.callArgs(pubs, call.items)
	}
	return calls
}

// ErrNoStream comes with outcomes that are Unknown though the server answered.
var ErrNoStream = errors.New("the key of a partition's stream holds something else")

// answer takes over what the script said of each group.
func (c *scriptCall) answer(outcomes []Outcome) error {
	reply, err := c.cmd.Result()
	if err != nil {
		return err
	}
	if len(reply) != 2*len(c.items) {
		return fmt.Errorf("the script answered %d numbers for %d groups", len(reply), len(c.items))
	}
	for k, i := range c.items {
		if status := bus.Status(reply[2*k]); status != bus.Unknown { //nolint:gosec // 0 to 5
			outcomes[i] = Outcome{Status: status, Last: reply[2*k+1]}
		} else {
			err = ErrNoStream
		}
	}
	return err
}
