package tail

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config is the tail's optional settings.
type Config struct {
	Keys bus.Keys // Defaults to namespace "rt", 16 partitions.
	// Refill is how many entries per partition are delivered first, from before
	// Run was called. Defaults to 4096; negative: none.
	Refill int
	// Count bounds the entries per partition in one read. Defaults to 1000.
	Count int
	// Block is how long a read waits for entries; it must be shorter than the
	// client's read timeout, and Run needs up to this long to stop. Defaults to 500 ms.
	Block time.Duration
	// Pause is the longest wait between two reads, at most 5 ms. It lets entries gather, so that many
	// tails do not cost Redis a call per entry each, and delays them by half of it on average. It grows
	// with the rate of entries: none up to 1,500 a second, all of it from 10,000 a second.
	// Defaults to none.
	Pause time.Duration
	// Check is how often the server's identity and the streams' ends are looked at.
	// Defaults to 2 s.
	Check time.Duration
	// Rewind is how far back reading starts again when the server changed or a stream
	// went backwards, on top of the time since the last good read. Defaults to 5 min.
	Rewind time.Duration
	// Reuse has the bytes of a read overwritten by the next one: they make no garbage,
	// and ID, Data, View and TraceParent of a Delivery must be copied to be kept.
	// Defaults to false.
	Reuse bool
	// Lost is called when entries may have been missed, because Redis was away or a
	// stream was trimmed, emptied or replaced: an account without further events would
	// not show a hole. It must not wait. Defaults to nobody.
	Lost       func()
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// Batch is what one read found. For each account the deliveries are in the order
// of its stream.
type Batch struct {
	// Deliveries and the slice itself are the tail's and are overwritten after
	// deliver returns: copy what you keep. The bytes and strings that a Delivery
	// points to never change and may be kept, unless Config.Reuse is set; ID, Data,
	// View and TraceParent share one buffer with the rest of the read and keep it in
	// memory, the other strings do not.
	Deliveries []bus.Delivery
	Refill     bool // from before Run was called: history for the ring, not news
}

// Tail reads all partitions' streams from its own positions, without a consumer
// group, so any number of tails may run.
type Tail struct {
	rdb      redis.UniversalClient
	cfg      Config
	metrics  metrics
	caughtUp chan struct{}
	behind   atomic.Int32 // readers that have not caught up yet
	unread   atomic.Int32 // partitions that cannot be read now, or have not been yet
	reading  []atomic.Bool
	complain rate.Sometimes

	mu sync.Mutex // held while deliver runs: one goroutine at a time
}

// New returns a tail on the given client. It does nothing until Run, which
// may be called once.
func New(rdb redis.UniversalClient, cfg Config) *Tail {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.Refill = cmp.Or(cfg.Refill, 4096)
	cfg.Count = cmp.Or(cfg.Count, 1000)
	cfg.Block = cmp.Or(cfg.Block, 500*time.Millisecond)
	cfg.Check = cmp.Or(cfg.Check, 2*time.Second)
	cfg.Rewind = cmp.Or(cfg.Rewind, 5*time.Minute)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Block = max(cfg.Block, time.Millisecond) // 0 would be for ever
	cfg.Pause = min(cfg.Pause, 5*time.Millisecond)
	t := &Tail{
		rdb:      rdb,
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer, cfg.Keys.Partitions),
		caughtUp: make(chan struct{}),
		reading:  make([]atomic.Bool, cfg.Keys.Partitions),
		complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
	t.unread.Store(int32(cfg.Keys.Partitions)) //nolint:gosec // partitions are few
	return t
}

// Run delivers first the most recent entries of each stream (Refill), then what
// comes, until ctx ends; then it returns nil. deliver is called by one goroutine
// at a time and its slowness delays only this tail.
//
// Between the refill and the first live read nothing is lost. After an error,
// and when Redis restarted or failed over, entries may be delivered again:
// drop what has seq <= the last one of its account. A hole in seq means that
// Redis lost or trimmed entries. Entries that are no deliveries are skipped,
// logged and counted (stream_malformed_total).
//
// On a single server one read covers all partitions; on a Redis Cluster, where a
// read cannot span slots, each partition has a reader of its own.
func (t *Tail) Run(ctx context.Context, deliver func(Batch)) error {
	all := make([]int, t.cfg.Keys.Partitions)
	for i := range all {
		all[i] = i
	}
	shares := [][]int{all}
	if _, ok := t.rdb.(*redis.ClusterClient); ok {
		shares = slices.Collect(slices.Chunk(all, 1))
	}
	t.behind.Store(int32(len(shares))) //nolint:gosec // partitions are few
	var readers errgroup.Group
	for _, share := range shares {
		r := newReader(t, share, deliver)
		readers.Go(func() error { return r.run(ctx) })
	}
	return readers.Wait()
}

// CaughtUp is closed once every partition was refilled and read up to its end.
func (t *Tail) CaughtUp() <-chan struct{} { return t.caughtUp }

// Reading tells whether the account's stream is being read: what Redis has of the account
// was delivered, or will be in a moment. It is false before the refill, and from a read
// that failed until all that came meanwhile was delivered; Lost is called before it turns
// true again. It costs a few ns.
func (t *Tail) Reading(account string) bool {
	return t.ReadingAll() || t.reading[t.cfg.Keys.Partition(account)].Load()
}

// ReadingAll is Reading for every account.
func (t *Tail) ReadingAll() bool { return t.unread.Load() == 0 }

// reads notes whether a partition can be read.
func (t *Tail) reads(partition int, yes bool) {
	switch {
	case t.reading[partition].Swap(yes) == yes:
	case yes:
		t.unread.Add(-1)
	default:
		t.unread.Add(1)
	}
}

func (t *Tail) oneCaughtUp() {
	if t.behind.Add(-1) == 0 {
		close(t.caughtUp)
	}
}
