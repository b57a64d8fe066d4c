package bus

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is a bus' settings. The zero value works for the memory bus; the Redis bus
// needs a Group to subscribe.
type Config struct {
	Keys Keys // Defaults to namespace "rt", 16 partitions.

	// Group is the consumer group: buses with the same one share the events between
	// them and must have the same subscriptions. 1 to 64 of A-Z a-z 0-9 . _ -. A bus
	// that only publishes needs none.
	Group string
	// Consumer names this process within the group. Defaults to the host's name, the
	// process id and a random word. A name that outlives the process (a StatefulSet's)
	// gets back at once what a crash left unfinished; no two processes may share it.
	Consumer string
	// Partitions are the only ones this bus reads. Give each process of a group its own
	// and each account's events are handled in order whatever the number of processes.
	// Defaults to all.
	Partitions []int
	// FromNow starts a group that does not exist yet with what comes. Defaults to
	// starting with all that the streams still hold.
	FromNow bool

	// Copies has handlers get the second party's delivery of an event as well: the same
	// ID, with the other party's Account and Seq. Without it a model's seq has holes. For
	// what follows each account; what follows the business would count twice. Defaults to
	// leaving copies out.
	Copies bool

	AllowDuplicates bool          // Publish looks for no duplicates. Defaults to looking.
	DedupTTL        time.Duration // how long an event's ID and Key are remembered. Defaults to 1 h.
	MaxLen          int64         // entries that a stream keeps, about. Defaults to 1,000,000.

	Attempts       int           // calls of a handler for one event, in all. Defaults to 3.
	FirstDelay     time.Duration // most that is waited before the second attempt, then doubled: the wait is random up to that. Defaults to 1 s.
	MaxDelay       time.Duration // cap of that. Defaults to 30 s.
	HandlerTimeout time.Duration // when a handler's context ends. Defaults to 30 s.

	// Synchronous has Publish return when all handlers are through with the events, for
	// tests. On Redis that needs Run, and waits for all the group has not handled yet.
	// Defaults to returning at once.
	Synchronous bool

	// MaxInFlight bounds the events that were read and are not handled to the end;
	// those that wait for another attempt count. At the bound reading stops. Defaults
	// to 4096.
	MaxInFlight int
	// Lanes bounds the handlers of one subscription that run at the same time. An
	// account's events share a lane. Defaults to 32.
	Lanes int

	// PauseAfter is how many attempts of a subscription must fail in a row to pause it.
	// Defaults to 20; negative: never.
	PauseAfter int
	// PauseFor is how long it is paused before one event probes whether it works again;
	// each failed probe doubles it, up to MaxPause. Defaults to 5 s.
	PauseFor time.Duration
	MaxPause time.Duration // Defaults to 1 min.

	// ClaimAfter is how long events of a consumer that shows no sign of life wait
	// before another consumer of the group takes them over. Defaults to 30 s.
	ClaimAfter time.Duration
	// DoneTTL is how long a subscription's being done with an event that others are not
	// done with is remembered. Defaults to 24 h.
	DoneTTL time.Duration
	// DrainTimeout is how long Run waits for events under way when its context ends.
	// Defaults to 10 s.
	DrainTimeout time.Duration

	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Several buses may share one. Defaults to no metrics.
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	c.Keys = c.Keys.WithDefaults()
	c.DedupTTL = cmp.Or(c.DedupTTL, time.Hour)
	c.MaxLen = cmp.Or(c.MaxLen, 1_000_000)
	c.Attempts = cmp.Or(c.Attempts, 3)
	c.FirstDelay = cmp.Or(c.FirstDelay, time.Second)
	c.MaxDelay = cmp.Or(c.MaxDelay, 30*time.Second)
	c.HandlerTimeout = cmp.Or(c.HandlerTimeout, 30*time.Second)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 4096)
	c.Lanes = cmp.Or(c.Lanes, 32)
	c.PauseAfter = cmp.Or(c.PauseAfter, 20)
	c.PauseFor = cmp.Or(c.PauseFor, 5*time.Second)
	c.MaxPause = cmp.Or(c.MaxPause, time.Minute)
	c.ClaimAfter = cmp.Or(c.ClaimAfter, 30*time.Second)
	c.DoneTTL = cmp.Or(c.DoneTTL, 24*time.Hour)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}
