package feed

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/ws/internal/fetch"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
)

// Config has the limits and the dependencies of an Index. The limits are those of ws.Config with the
// same names. Only Tracer may be nil.
type Config struct {
	QueueEvents  int
	QueueBytes   int
	MemoryEvents int
	MemoryBytes  int
	MaxReplay    int
	Rechecks     int // the maximum number of accounts that Recheck compares at the same time
	WriteTimeout time.Duration
	RetryFor     time.Duration
	FetchTimeout time.Duration
	CaughtUp     <-chan struct{}
	Current      func(account string) bool

	Context context.Context // of the work for clients
	Fetcher *fetch.Fetcher
	Metrics *metrics.Metrics
	Logger  *slog.Logger
	Tracer  trace.Tracer
	// Go runs f in a goroutine. It returns false when the hub has stopped.
	Go func(f func()) bool
}

// An Index finds the feeds of an account. It has the memory of recent events.
type Index struct {
	cfg    Config
	shards [ShardCount]shard

	// allAccounts are the ["*"] subscriptions. The slice is immutable.
	allAccounts atomic.Pointer[[]*Subscription]
	// allAccountsMu is locked while allAccounts is changed. Deliver holds it for reading while it queues
	// events for these subscriptions, so that a subscription gets none after it was removed.
	allAccountsMu sync.RWMutex
}

// NewIndex returns an Index without feeds.
func NewIndex(cfg Config) *Index {
	x := &Index{cfg: cfg}
	x.allAccounts.Store(&[]*Subscription{})
	for i := range x.shards {
		x.shards[i].topics = map[string]*topic{}
		x.shards[i].memory.MaxEvents = max(1, cfg.MemoryEvents/ShardCount)
		x.shards[i].memory.MaxBytes = max(1, cfg.MemoryBytes/ShardCount)
	}

	return x
}

// Stats counts the contents of an Index at one moment.
type Stats struct {
	Accounts     int // with at least one feed
	MemoryEvents int
	MemoryBytes  int
}

// Stats returns the current counts.
func (x *Index) Stats() Stats {
	var stats Stats
	for i := range x.shards {
		s := &x.shards[i]
		stats.Accounts += len(s.subscribedTopics())
		s.mu.Lock()
		stats.MemoryEvents += s.memory.Len()
		stats.MemoryBytes += s.memory.Bytes()
		s.mu.Unlock()
	}

	return stats
}

// hasAllAccounts reports whether there is a ["*"] subscription.
func (x *Index) hasAllAccounts() bool {
	return len(*x.allAccounts.Load()) > 0
}

// addAllAccounts adds a ["*"] subscription. It replaces the slice, because hasAllAccounts reads it
// without a lock.
func (x *Index) addAllAccounts(sub *Subscription) {
	x.allAccountsMu.Lock()
	defer x.allAccountsMu.Unlock()

	list := append(slices.Clone(*x.allAccounts.Load()), sub)
	x.allAccounts.Store(&list)
}

// removeAllAccounts removes a ["*"] subscription. It replaces the slice too.
func (x *Index) removeAllAccounts(sub *Subscription) {
	x.allAccountsMu.Lock()
	defer x.allAccountsMu.Unlock()

	list := slices.Clone(*x.allAccounts.Load())
	i := slices.Index(list, sub)
	if i >= 0 {
		list = slices.Delete(list, i, i+1)
	}

	x.allAccounts.Store(&list)
}
