package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RelayConfig is the relay's optional settings.
type RelayConfig struct {
	// MaxQueue bounds the transactions that wait in memory to be published. What
	// does not fit stays in the outbox for the sweep (relay_deferred_total).
	// Defaults to 16,384.
	MaxQueue int
	// MaxBatch bounds the transactions in one publish. Defaults to 1024.
	MaxBatch int
	// Page is how many outbox rows the sweep reads at once. Defaults to 500.
	Page int
	// Sweep is how often the outbox is looked through for rows that were left over.
	// Defaults to 1 s.
	Sweep time.Duration
	// MinAge is how old a row must be for a sweep that no trouble caused, so that it does
	// not repeat what is being published. Defaults to 1 s.
	MinAge time.Duration
	// Check is how often the outbox is counted and the server's identity looked at.
	// Defaults to 5 s.
	Check time.Duration
	// Quiet is how far back accounts are compared with their hashes after Redis was
	// away or changed. Defaults to 15 min.
	Quiet time.Duration
	// MaxBackoff bounds the pause between attempts while Redis or the source is
	// away. Defaults to 2 s.
	MaxBackoff time.Duration
	// Drain is how long Run publishes what is queued after its ctx ended. Defaults to 1 s.
	Drain      time.Duration
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// Relay publishes what a Source committed.
type Relay struct{}

// NewRelay returns a relay from src to pub. It does nothing until Run.
func NewRelay(src Source, pub *Publisher, cfg RelayConfig) *Relay { return &Relay{} }

// Offer hands over transactions right after their commit, so that they are
// published without waiting for a sweep. It never blocks. The relay keeps what
// the rows point to; the caller must not change it afterwards. Offers of one
// account must come in order of seq.
func (r *Relay) Offer(rows []Pending) { panic("being written") }

// Run publishes until ctx ends, then what is queued, within RelayConfig.Drain.
// It returns nil; whatever fails is tried again.
func (r *Relay) Run(ctx context.Context) error { panic("being written") }
