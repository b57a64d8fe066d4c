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
	Keys bus.Keys // Defaults to namespace "rt", 64 partitions.
	// Refill is how many entries per partition from before Run are delivered first. Defaults to
	// 1024; negative: none.
	Refill int
	// Count bounds the entries per partition in one read. Defaults to 1000.
	Count int
	// Block is how long a read waits for entries. It must be shorter than the client's read
	// timeout. Run needs up to this long to stop. Defaults to 500 ms.
	Block time.Duration
	// Pause is the longest wait between two reads, at most 5 ms. Entries gather meanwhile, so that
	// Redis does not serve one call per entry to each of many tails. On average it delays an entry
	// by half of it. It grows with the rate of entries: zero up to 1,500 a second, all of it from
	// 10,000 a second. Defaults to none.
	Pause time.Duration
	// Check is the interval at which the server's run id and the streams' ends are checked.
	// Defaults to 2 s.
	Check time.Duration
	// Rewind is how far back reading starts again when the server changed or a stream went back, in
	// addition to the time since the last good read. Defaults to 5 min.
	Rewind time.Duration
	// Reuse overwrites the bytes of a read with the next one, which avoids garbage. ID, Data, View
	// and TraceParent of a Delivery must then be copied to be kept. Defaults to false.
	Reuse bool
	// Lost is called when entries may have been missed. An account without further events would not
	// show the hole. other is true if the streams may not be those that were read before: a stream
	// was emptied, replaced or went back, the server is another one, or entries were trimmed before
	// they were read. It is false after an interruption. Lost is called before the next entries are
	// delivered. It must not block. Defaults to none.
	Lost       func(other bool)
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// Batch contains the deliveries of one read. The deliveries of each account are in the order of its
// stream.
type Batch struct {
	// Deliveries is overwritten after deliver returns, so copy the deliveries that you keep. The
	// bytes and strings of a Delivery do not change and may be kept, unless Config.Reuse is set.
	// ID, Data, View and TraceParent share one buffer with the rest of the read and keep it in
	// memory. The other strings do not.
	Deliveries []bus.Delivery
	Refill     bool // the deliveries are from before Run was called
}

// Tail reads the streams of all partitions from its own positions, without a consumer group. Any
// number of tails may run.
type Tail struct {
	rdb      redis.UniversalClient
	cfg      Config
	metrics  metrics
	caughtUp chan struct{}
	lagging  atomic.Int32  // readers that have not caught up yet
	unread   atomic.Int32  // partitions that are not being read
	reading  []atomic.Bool // by partition
	failing  []atomic.Bool // by partition: reads fail, or the entries added meanwhile are not all delivered
	logLimit rate.Sometimes

	mu sync.Mutex // held while deliver runs
}

// New returns a tail on the given client. It does nothing until Run, which may be called once.
func New(rdb redis.UniversalClient, cfg Config) *Tail {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.Refill = cmp.Or(cfg.Refill, 1024)
	cfg.Count = cmp.Or(cfg.Count, 1000)
	cfg.Block = cmp.Or(cfg.Block, 500*time.Millisecond)
	cfg.Check = cmp.Or(cfg.Check, 2*time.Second)
	cfg.Rewind = cmp.Or(cfg.Rewind, 5*time.Minute)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Block = max(cfg.Block, time.Millisecond) // 0 would block without a limit
	cfg.Pause = min(cfg.Pause, 5*time.Millisecond)
	t := &Tail{
		rdb:      rdb,
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer, cfg.Keys.Partitions),
		caughtUp: make(chan struct{}),
		reading:  make([]atomic.Bool, cfg.Keys.Partitions),
		failing:  make([]atomic.Bool, cfg.Keys.Partitions),
		logLimit: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}

	t.unread.Store(int32(cfg.Keys.Partitions)) //nolint:gosec // partitions are few
	return t
}

// Run first delivers the newest entries of each stream (Config.Refill), and then all new entries,
// until ctx ends. It always returns nil. deliver is called by one goroutine at a time. A slow
// deliver delays only this tail.
//
// No entry is lost between the refill and the first live read. After an error, and after Redis
// restarted or failed over, entries may be delivered again: drop deliveries whose seq is not
// greater than the last one of the account. A hole in seq means that Redis lost or trimmed entries.
// Entries that are not valid deliveries are skipped, logged and counted (realtime_stream_malformed_total).
//
// On a single server one read covers all partitions. On a Redis Cluster a read cannot span slots,
// so each partition has its own reader.
func (t *Tail) Run(ctx context.Context, deliver func(Batch)) error {
	partitions := make([]int, t.cfg.Keys.Partitions)
	for i := range partitions {
		partitions[i] = i
	}

	shares := [][]int{partitions} // the partitions of each reader
	if _, ok := t.rdb.(*redis.ClusterClient); ok {
		shares = slices.Collect(slices.Chunk(partitions, 1))
	}

	t.lagging.Store(int32(len(shares))) //nolint:gosec // partitions are few
	var readers errgroup.Group
	for _, share := range shares {
		r := newReader(t, share, deliver)
		readers.Go(func() error { return r.run(ctx) })
	}

	return readers.Wait()
}

// CaughtUp returns a channel that is closed when all partitions were refilled. All entries that are
// added later are delivered as new ones.
func (t *Tail) CaughtUp() <-chan struct{} { return t.caughtUp }

// Reading reports whether the account's stream is being read, so that all entries of the account
// are delivered or will be delivered in a moment. It is false before the refill. After a failed
// read it is false until the entries that were added meanwhile are delivered; Lost is called before
// it is true again. A call takes a few ns.
func (t *Tail) Reading(account string) bool {
	return t.ReadingAll() || t.reading[t.cfg.Keys.Partition(account)].Load()
}

// ReadingAll reports whether Reading is true for every account.
func (t *Tail) ReadingAll() bool { return t.unread.Load() == 0 }

// Status returns the partitions that have not been read since Run was called, and those whose reads
// fail at the moment. The streams of all other partitions are being read.
func (t *Tail) Status() (starting, failing []int) {
	for partition := range t.reading {
		switch {
		case t.failing[partition].Load():
			failing = append(failing, partition)
		case !t.reading[partition].Load():
			starting = append(starting, partition)
		}
	}

	return starting, failing
}

// setFailing records that the reads of a partition fail. setReading ends this.
func (t *Tail) setFailing(partition int) {
	t.failing[partition].Store(true)
	t.setReading(partition, false)
}

// setReading sets whether a partition is being read.
func (t *Tail) setReading(partition int, reading bool) {
	if reading {
		t.failing[partition].Store(false)
	}

	before := t.reading[partition].Swap(reading)
	switch {
	case before == reading:
	case reading:
		t.unread.Add(-1)
	default:
		t.unread.Add(1)
	}
}

// readerCaughtUp records that one more reader has caught up.
func (t *Tail) readerCaughtUp() {
	if t.lagging.Add(-1) == 0 {
		close(t.caughtUp)
	}
}
