package bus

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is a bus' settings. The zero value works for the memory bus. The Redis bus needs a Group
// to subscribe.
type Config struct {
	Keys Keys // Defaults to namespace "rt", 64 partitions.

	// Group is the consumer group. Buses with the same Group share the events and must have the
	// same subscriptions. It is 1 to 64 of A-Z a-z 0-9 . _ -. A bus that only publishes needs none.
	Group string
	// Consumer identifies this process within the group. No two processes may share it. A consumer
	// that restarts under the same name, as in a StatefulSet, gets the unfinished events of its
	// crash back at once. Defaults to the host's name, the process id and random characters.
	Consumer string
	// Partitions are the only partitions that this bus reads. If each process of a group has its
	// own, each account's events are handled in order with any number of processes. Defaults to
	// all.
	Partitions []int
	// FromNow starts a new group at the end of the streams. Defaults to false: a new group starts
	// at the oldest entry of the streams.
	FromNow bool

	// History gives the ledger's events to subscriptions with Since. Package history has one that
	// reads it from the core. Defaults to none.
	History History

	// Copies includes the second party's delivery of an event: the same ID, with the other party's
	// Account and Seq. Set it for handlers that follow accounts, since otherwise a model's Seq has
	// holes. Handlers that count business events would count an event twice. Defaults to false.
	Copies bool

	AllowDuplicates bool          // Publish does not check for duplicates. Defaults to false.
	DedupTTL        time.Duration // how long an event's ID and Key are remembered. Defaults to 1 h.
	MaxLen          int64         // approximate number of entries that a stream keeps. Defaults to 250,000.

	// Attempts is the largest number of handler calls for one event. Defaults to 3.
	Attempts int
	// FirstDelay is the longest delay before the second attempt. It doubles with each further
	// attempt. The delay is random up to it. Defaults to 1 s.
	FirstDelay     time.Duration
	MaxDelay       time.Duration // bounds the longest delay. Defaults to 30 s.
	HandlerTimeout time.Duration // after which a handler's context ends. Defaults to 30 s.

	// Synchronous makes Publish return when all handlers are done with the events, for tests. On
	// Redis this needs Run, and Publish waits for all unhandled events of the group. Defaults to
	// false.
	Synchronous bool

	// MaxInFlight bounds the events that were read and are not finished, including those that wait
	// for another attempt. At the bound the bus stops reading. Defaults to 4096.
	MaxInFlight int
	// Concurrency bounds the handlers of one subscription that run in parallel. Defaults to 32.
	Concurrency int

	// PauseAfter is the number of failed attempts in a row after which a subscription is paused.
	// Defaults to 20; negative: never.
	PauseAfter int
	// PauseFor is the length of a pause, after which one event probes whether the handler works
	// again. Each failed probe doubles it, up to MaxPause. Defaults to 5 s.
	PauseFor time.Duration
	MaxPause time.Duration // Defaults to 1 min.

	// ClaimAfter is how long an entry must be idle before another consumer of the group claims it.
	// A running consumer keeps its entries from becoming idle. Defaults to 30 s.
	ClaimAfter time.Duration
	// DoneTTL is how long a done marker is kept. It says that a subscription is done with an event
	// that others are not done with. Defaults to 24 h.
	DoneTTL time.Duration
	// DrainTimeout is how long Run waits for the events in flight when its context ends. Defaults
	// to 10 s.
	DrainTimeout time.Duration

	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Several buses may share one. Defaults to no metrics.
}

// WithDefaults returns a copy with the defaults of the zero fields.
func (c Config) WithDefaults() Config {
	c.Keys = c.Keys.WithDefaults()
	c.DedupTTL = cmp.Or(c.DedupTTL, time.Hour)
	c.MaxLen = cmp.Or(c.MaxLen, 250_000)
	c.Attempts = cmp.Or(c.Attempts, 3)
	c.FirstDelay = cmp.Or(c.FirstDelay, time.Second)
	c.MaxDelay = cmp.Or(c.MaxDelay, 30*time.Second)
	c.HandlerTimeout = cmp.Or(c.HandlerTimeout, 30*time.Second)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 4096)
	c.Concurrency = cmp.Or(c.Concurrency, 32)
	c.PauseAfter = cmp.Or(c.PauseAfter, 20)
	c.PauseFor = cmp.Or(c.PauseFor, 5*time.Second)
	c.MaxPause = cmp.Or(c.MaxPause, time.Minute)
	c.ClaimAfter = cmp.Or(c.ClaimAfter, 30*time.Second)
	c.DoneTTL = cmp.Or(c.DoneTTL, 24*time.Hour)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())

	return c
}
