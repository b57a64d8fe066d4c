package wallet

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// failureLogInterval is the interval at which a failure that goes on is logged.
const failureLogInterval = time.Minute

// newFailureLogLimit returns a limit that lets the first line pass, and then one line in each
// interval.
func newFailureLogLimit() *rate.Sometimes {
	return &rate.Sometimes{
		First:    1,
		Interval: failureLogInterval,
	}
}

// writeHealth records whether the database accepts writes.
type writeHealth struct {
	logger   *slog.Logger
	logLimit *rate.Sometimes
	failing  atomic.Bool             // the newest batch failed because the database was unavailable
	failures atomic.Int64            // failed batches since the last line
	isLogged atomic.Bool             // a failure was logged after the last success
	refusal  atomic.Pointer[refusal] // the newest one after the last success; nil: none
	memory   time.Duration           // the constant refusalMemory; another one in tests
}

// refusal is the failure of a batch for a reason that a probe does not find.
type refusal struct {
	at  time.Time
	err error
}

// refusalMemory is how long Ping reports a refusal unless a batch succeeds. Batches that are refused
// fail at least every 2 s, if there are any.
const refusalMemory = 10 * time.Second

func newWriteHealth(logger *slog.Logger) *writeHealth {
	return &writeHealth{
		logger:   logger,
		logLimit: newFailureLogLimit(),
		memory:   refusalMemory,
	}
}

// noteFailure records that a batch failed because the database was unavailable. While this goes on,
// it is logged once a minute.
func (h *writeHealth) noteFailure(operations int, err error) {
	h.failing.Store(true)
	h.failures.Add(1)
	if isRefusal(err) {
		h.refusal.Store(&refusal{
			at:  time.Now(),
			err: err,
		})
	}

	h.logLimit.Do(func() {
		h.isLogged.Store(true)
		h.logger.Error("committing a batch failed; while this goes on, it is logged once a minute",
			"operations", operations, "failures", h.failures.Swap(0), "error", err)
	})
}

// noteSuccess records that a batch was committed.
func (h *writeHealth) noteSuccess() {
	if !h.failing.Load() && !h.isLogged.Load() {
		return
	}

	h.failing.Store(false)
	h.refusal.Store(nil)
	if h.isLogged.Swap(false) {
		h.logger.Info("batches are committed again")
	}
}

// noteProbe records that a probe was committed after a batch had failed.
func (h *writeHealth) noteProbe() { h.failing.Store(false) }

// recentRefusal returns the error of a refusal that a probe must not hide. It returns nil if there
// is none.
func (h *writeHealth) recentRefusal() error {
	newest := h.refusal.Load()
	if newest == nil || time.Since(newest.at) >= h.memory {
		return nil
	}

	return newest.err
}

// Ping checks that the database answers. On Postgres it has its own connections, so that it does not
// wait for those of commits and reads. If the newest batch failed because the database was
// unavailable, Ping also checks that the tables can be locked for writes, that the database accepts
// writes and that its synchronous standby confirms them. No such check finds a disk without space
// for a batch, or a right that is missing, so Ping remembers these errors for refusalMemory.
func (l *Ledger) Ping(ctx context.Context) error {
	err := l.store.ping(ctx)
	if err != nil || !l.writes.failing.Load() {
		return err
	}

	err = l.writes.recentRefusal()
	if err == nil {
		err = l.store.commitProbe(ctx)
	}

	if err != nil {
		return fmt.Errorf("writes fail: %w", err)
	}

	l.writes.noteProbe()
	return nil
}
