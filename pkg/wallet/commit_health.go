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
	failing  atomic.Bool  // the newest batch failed because the database was unavailable
	failures atomic.Int64 // failed batches since the last line
	isLogged atomic.Bool  // a failure was logged after the last success
}

func newWriteHealth(logger *slog.Logger) *writeHealth {
	return &writeHealth{
		logger:   logger,
		logLimit: newFailureLogLimit(),
	}
}

// noteFailure records that a batch failed because the database was unavailable. While this goes on,
// it is logged once a minute.
func (h *writeHealth) noteFailure(operations int, err error) {
	h.failing.Store(true)
	h.failures.Add(1)
	h.logLimit.Do(func() {
		h.isLogged.Store(true)
		h.logger.Error("committing a batch failed; while this goes on, it is logged once a minute",
			"operations", operations, "failures", h.failures.Swap(0), "error", err)
	})
}

// noteSuccess records that the database accepted a write.
func (h *writeHealth) noteSuccess() {
	if !h.failing.Load() {
		return
	}

	h.failing.Store(false)
	if h.isLogged.Swap(false) {
		h.logger.Info("batches are committed again")
	}
}

// Ping checks that the database answers. On Postgres it has its own connections, so that it does not
// wait for those of commits and reads. If the newest batch failed because the database was
// unavailable, Ping also checks that the database accepts writes and that its synchronous standby
// confirms them.
func (l *Ledger) Ping(ctx context.Context) error {
	err := l.store.ping(ctx)
	if err != nil || !l.writes.failing.Load() {
		return err
	}

	err = l.store.commitProbe(ctx)
	if err != nil {
		return fmt.Errorf("writes fail: %w", err)
	}

	l.writes.noteSuccess()
	return nil
}
