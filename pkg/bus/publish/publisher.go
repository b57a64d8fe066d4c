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
	Keys bus.Keys // Defaults to namespace "rt", 64 partitions.
	// MaxLen is about how many entries a stream keeps. Each call trims the stream of its first
	// update. Defaults to 250,000.
	MaxLen     int64
	DedupTTL   time.Duration         // how long an update's dedup key lives. Defaults to 1 h.
	MaxUpdates int                   // updates in one script call, so that Redis can serve other clients in between. Defaults to 64.
	MaxBytes   int                   // payload in one script call. Defaults to 1 MiB.
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// A Publication is an account update to be published.
type Publication struct {
	Update bus.AccountUpdate
	// AsStartingPoint accepts the update as the account's first one if Redis does not know the
	// account. From then on all earlier updates count as duplicates, so set it only if they are
	// published or not wanted. An update that starts at seq 1 does not need it.
	AsStartingPoint bool
}

// Outcome is the result of one publication.
type Outcome struct {
	Status bus.Status
	Last   int64 // the account's seq in Redis before this publication; -1: Redis has none. Not set if Unknown.
}

// Done reports whether Redis has the update.
func (o Outcome) Done() bool { return o.Status == bus.Published || o.Status == bus.Duplicate }

// Publisher writes account updates to the streams. Its methods may be called from several
// goroutines.
type Publisher struct {
	rdb        redis.UniversalClient
	cfg        Config
	script     script
	rewind     script
	prefixes   []keyPrefixes // by partition
	ttlSeconds int64
	metrics    publisherMetrics
	cluster    atomic.Bool // Redis is a cluster, so a call must not span partitions
}

// New returns a publisher on the given client.
func New(rdb redis.UniversalClient, cfg Config) *Publisher {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.MaxLen = cmp.Or(cfg.MaxLen, 250_000)
	cfg.DedupTTL = cmp.Or(cfg.DedupTTL, time.Hour)
	cfg.MaxUpdates = cmp.Or(cfg.MaxUpdates, 64)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 1<<20)
	p := &Publisher{
		rdb:        rdb,
		cfg:        cfg,
		script:     newScript(publishSource),
		rewind:     newScript(rewindSource),
		prefixes:   newKeyPrefixes(cfg.Keys),
		ttlSeconds: max(1, int64(cfg.DedupTTL/time.Second)),
		metrics:    newPublisherMetrics(cfg.Registerer),
	}

	_, isCluster := rdb.(*redis.ClusterClient)
	p.cluster.Store(isCluster)
	return p
}

// Client returns the client of the publisher.
func (p *Publisher) Client() redis.UniversalClient { return p.rdb }

// Keys returns the keys of the publisher.
func (p *Publisher) Keys() bus.Keys { return p.cfg.Keys }

// IsCluster reports whether Redis is known to be a cluster. Each partition then has calls of its
// own.
func (p *Publisher) IsCluster() bool { return p.cluster.Load() }

// Publish writes account updates and returns their outcomes in the order given. Updates of one
// account are written in that order, which must be the order of seq. All updates go in one script
// call, or in several within the configured limits; on a Redis Cluster each partition has calls of
// its own. All calls go in one pipeline. Each update is written completely or not at all,
// independently of the others. The same updates may be published again at any time.
//
// An error means that some calls failed. The outcomes of their updates are Unknown. All other
// outcomes are valid.
func (p *Publisher) Publish(ctx context.Context, pubs []Publication) ([]Outcome, error) {
	if len(pubs) == 0 {
		return nil, nil
	}

	start := time.Now()
	outcomes := make([]Outcome, len(pubs))
	calls := p.makeCalls(pubs, outcomes)
	p.script.runCalls(ctx, p.rdb, calls)
	if len(callsWithError(calls, "CROSSSLOT")) > 0 {
		// Redis is a cluster behind one address. Updates that the first calls published are
		// duplicates now.
		p.cluster.Store(true)
		calls = p.makeCalls(pubs, outcomes)
		p.script.runCalls(ctx, p.rdb, calls)
	}

	var failed error
	for _, call := range calls {
		err := call.readOutcomes(outcomes)
		if err != nil && failed == nil {
			failed = fmt.Errorf("publish: %w", err)
		}
	}

	p.metrics.countOutcomes(pubs, outcomes)
	p.metrics.seconds.Observe(time.Since(start).Seconds())
	return outcomes, failed
}

// makeCalls distributes the publications over script calls. It sets the outcome of the publications
// that are not valid.
func (p *Publisher) makeCalls(pubs []Publication, outcomes []Outcome) []*scriptCall {
	isCluster := p.cluster.Load()
	slots := 1
	if isCluster {
		slots = p.cfg.Keys.Partitions
	}

	var calls []*scriptCall
	open := make([]*scriptCall, slots) // call to which updates can be added, by partition on a cluster
	for i := range pubs {
		u := &pubs[i].Update
		size, valid := u.PayloadSize()
		if !valid {
			outcomes[i] = Outcome{Status: bus.Unwritable, Last: -1}
			continue
		}

		slot := 0
		if isCluster {
			slot = p.cfg.Keys.Partition(u.Account)
		}

		call := open[slot]
		if call == nil || len(call.items) >= p.cfg.MaxUpdates || call.bytes+size > p.cfg.MaxBytes {
			call = &scriptCall{}
			open[slot] = call
			calls = append(calls, call)
		}

		call.items = append(call.items, i)
		call.bytes += size
	}

	for _, call := range calls {
		call.args = p.buildArgs(pubs, call.items)
	}

	return calls
}

// ErrNoStream is returned if the key of a partition's stream holds another type. The outcomes of
// the partition's updates are Unknown, although Redis answered.
var ErrNoStream = errors.New("the key of a partition's stream must hold a stream")

// readOutcomes sets the outcome of each update of the call.
func (c *scriptCall) readOutcomes(outcomes []Outcome) error {
	reply, err := c.cmd.Result()
	if err != nil {
		return err
	}

	if len(reply) != 2*len(c.items) {
		return fmt.Errorf("the script returned %d numbers for %d updates", len(reply), len(c.items))
	}

	for k, i := range c.items {
		status := bus.Status(reply[2*k]) //nolint:gosec // 0 to 6
		if status == bus.Unknown {
			err = ErrNoStream
			continue
		}

		outcomes[i] = Outcome{Status: status, Last: reply[2*k+1]}
	}

	return err
}
