package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cmp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// PublisherConfig is the publisher's optional settings.
type PublisherConfig struct {
	Keys       Keys                  // Defaults to namespace "rt", 16 partitions.
	MaxLen     int64                 // entries that a stream keeps, about (XTRIM MAXLEN ~ after each call, of its first group's). Defaults to 1,000,000.
	DedupTTL   time.Duration         // how long a group's dedup key lives. Defaults to 1 h.
	MaxGroups  int                   // groups in one script call, so that Redis serves others in between. Defaults to 64.
	MaxBytes   int                   // payload in one script call, above which the next begins. Defaults to 1 MiB.
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// A Publication asks for one group to be published.
type Publication struct {
	Group Group
	// Base accepts the group as the account's starting point when Redis knows
	// nothing of the account. Set it only when every earlier group is known to be
	// published or not wanted: they are duplicates from then on. A group that
	// starts at 1 needs no Base.
	Base bool
}

// Status is what became of a publication.
type Status uint8

const (
	// Unknown: Redis gave no answer for the group; it may or may not be published.
	Unknown Status = iota
	// Published: the group was added now.
	Published
	// Duplicate: Redis has the group already; nothing was added.
	Duplicate
	// Gap: the group's predecessor is missing in Redis; nothing was done.
	Gap
	// Straddled: Redis has some of the group's deliveries and lacks others, which
	// no publisher can bring about: somebody wrote the hash, or the ledger has
	// another history than Redis. Nothing was done.
	Straddled
	// Unwritable: the account's hash is no hash, or the group is empty or not
	// numbered 1, 2, 3 … Nothing was done.
	Unwritable
)

// Outcome answers one publication.
type Outcome struct {
	Status Status
	Last   int64 // the account's seq in Redis before this publication; -1: Redis has none. Not set when Unknown.
}

// Done tells whether Redis has the group.
func (o Outcome) Done() bool { return o.Status == Published || o.Status == Duplicate }

// Publisher writes groups to the streams. Its methods may be called from several
// goroutines.
type Publisher struct {
	rdb        redis.UniversalClient
	cfg        PublisherConfig
	sha        string
	names      []partitionNames
	ttlSeconds int64
	metrics    publisherMetrics
	apart      atomic.Bool // Redis wants each partition in calls of its own: it is a cluster
}

// NewPublisher returns a publisher on the given client.
func NewPublisher(rdb redis.UniversalClient, cfg PublisherConfig) *Publisher {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.MaxLen = cmp.Or(cfg.MaxLen, 1_000_000)
	cfg.DedupTTL = cmp.Or(cfg.DedupTTL, time.Hour)
	cfg.MaxGroups = cmp.Or(cfg.MaxGroups, 64)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 1<<20)
	p := &Publisher{
		rdb:        rdb,
		cfg:        cfg,
		sha:        redis.NewScript(publishSource).Hash(),
		names:      namesOf(cfg.Keys),
		ttlSeconds: max(1, int64(cfg.DedupTTL/time.Second)),
		metrics:    newPublisherMetrics(cfg.Registerer),
	}
	_, cluster := rdb.(*redis.ClusterClient)
	p.apart.Store(cluster)
	return p
}

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
	p.exec(ctx, calls)
	if len(refusedWith(calls, "CROSSSLOT")) > 0 {
		// A cluster behind one address. What those calls could do is answered as a duplicate now.
		p.apart.Store(true)
		calls = p.split(pubs, outcomes)
		p.exec(ctx, calls)
	}
	if lost := refusedWith(calls, "NOSCRIPT"); len(lost) > 0 {
		// Redis restarted, or it is another one: hand it the script. EVAL keeps it.
		for _, c := range lost {
			c.args[argName], c.args[argScript] = "eval", publishSource
		}
		p.exec(ctx, lost)
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
	type gathering struct {
		groups []int
		bytes  int
	}
	var calls []*scriptCall
	apart := p.apart.Load()
	parts := make([]gathering, 1)
	if apart {
		parts = make([]gathering, p.cfg.Keys.Partitions)
	}
	flush := func(part *gathering) {
		if len(part.groups) > 0 {
			calls = append(calls, &scriptCall{groups: part.groups, args: p.callArgs(pubs, part.groups)})
			*part = gathering{}
		}
	}
	for i := range pubs {
		g := &pubs[i].Group
		size, valid := payload(g)
		if !valid {
			outcomes[i] = Outcome{Status: Unwritable, Last: -1}
			continue
		}
		part := &parts[0]
		if apart {
			part = &parts[p.cfg.Keys.Partition(g.Account)]
		}
		if len(part.groups) >= p.cfg.MaxGroups || part.bytes+size > p.cfg.MaxBytes {
			flush(part)
		}
		part.groups = append(part.groups, i)
		part.bytes += size
	}
	for i := range parts {
		flush(&parts[i])
	}
	return calls
}

// payload sizes a group, and tells whether its numbers are consecutive: the
// guard looks only at the first and the last.
func payload(g *Group) (size int, valid bool) {
	if len(g.Deliveries) == 0 || g.First() < 1 {
		return 0, false
	}
	for i := range g.Deliveries {
		d := &g.Deliveries[i]
		if d.Seq != g.First()+int64(i) {
			return 0, false
		}
		size += len(d.Data) + len(d.View) + 200 // ids, names, reasons
	}
	return size, true
}

func (p *Publisher) exec(ctx context.Context, calls []*scriptCall) {
	pipe := p.rdb.Pipeline()
	for _, c := range calls {
		c.cmd = redis.NewIntSliceCmd(ctx, c.args...)
		_ = pipe.Process(ctx, c.cmd)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}

// refusedWith picks the calls that Redis answered with an error of that prefix.
func refusedWith(calls []*scriptCall, prefix string) []*scriptCall {
	var refused []*scriptCall
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && redis.HasErrorPrefix(err, prefix) {
			refused = append(refused, c)
		}
	}
	return refused
}

// errNoStream comes with outcomes that are Unknown though the server answered.
var errNoStream = errors.New("the key of a partition's stream holds something else")

// answer takes over what the script said of each group.
func (c *scriptCall) answer(outcomes []Outcome) error {
	reply, err := c.cmd.Result()
	if err != nil {
		return err
	}
	if len(reply) != 2*len(c.groups) {
		return fmt.Errorf("the script answered %d numbers for %d groups", len(reply), len(c.groups))
	}
	for k, i := range c.groups {
		if status := Status(reply[2*k]); status != Unknown { //nolint:gosec // 0 to 5
			outcomes[i] = Outcome{Status: status, Last: reply[2*k+1]}
		} else {
			err = errNoStream
		}
	}
	return err
}
