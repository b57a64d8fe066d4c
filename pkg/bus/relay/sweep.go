package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// minSweepPause keeps sweeps apart that trouble asks for.
const minSweepPause = 20 * time.Millisecond

// sweeper is what the sweep remembers from pass to pass.
type sweeper struct {
	*Relay
	identity   string    // of Redis, when it was looked at last
	lastGood   time.Time // when Redis and the source did all that was asked
	compare    bool      // quiet accounts are to be compared with their hashes
	all        bool      // the next pass takes rows of any age
	watermarks []int64   // of each partition, as they were looked at last; -1: none
	marked     time.Time // when that was

	// Of the pass: partitions that have given no answer, and the error.
	away    map[int]bool
	failure error
}

// keepSweeping passes through the outbox at the start, on each tick, and when
// there is trouble, until ctx ends.
func (r *Relay) keepSweeping(ctx context.Context) {
	s := &sweeper{Relay: r, lastGood: time.Now(), compare: true, all: true, watermarks: slices.Repeat([]int64{-1}, r.keys.Partitions)}
	retry := backoff.ExponentialBackOff{
		InitialInterval: 20 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: r.cfg.MaxBackoff,
	}
	tick, check := time.NewTicker(r.cfg.Sweep), time.NewTicker(r.cfg.Check)
	defer tick.Stop()
	defer check.Stop()
	s.look(ctx)
	for ctx.Err() == nil {
		if err := s.pass(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.failed(err)
			wait.Sleep(ctx, retry.NextBackOff())
			continue
		}
		retry.Reset()
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-r.urgent:
			s.all = true
			wait.Sleep(ctx, minSweepPause)
		case <-check.C:
			s.look(ctx)
		}
	}
}

// failed has the next pass look at everything again.
func (s *sweeper) failed(err error) {
	s.compare, s.all = true, true
	s.complain.Do(func() { s.cfg.Logger.Warn("the outbox cannot be published now, trying again", "error", err) })
}

// pass goes through the outbox once and, when that is due, compares quiet accounts.
func (s *sweeper) pass(ctx context.Context) error {
	if s.down.Load() {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if err := s.rdb.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("ping redis: %w", err)
		}
		// From here on offers are taken again. What was offered before was committed
		// before, so the pass that begins now sees it.
		s.down.Store(false)
		s.compare, s.all = true, true
	}
	if err := s.checkSuspects(ctx); err != nil {
		return err
	}
	minAge := s.cfg.MinAge
	if s.all {
		minAge = 0
	}
	s.metrics.sweeps.Inc()
	if err := s.sweep(ctx, minAge); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	s.all = false
	due := s.compare || time.Since(s.marked) >= s.cfg.Check
	if s.compare {
		from, err := s.compareFrom(ctx)
		if err != nil {
			return err
		}
		complete, err := s.reconcile(ctx, from)
		if err != nil {
			return fmt.Errorf("compare quiet accounts: %w", err)
		}
		s.compare = !complete
	}
	s.clearOutages()
	s.lastGood = time.Now()
	if due {
		s.moveWatermarks(ctx)
	}
	return nil
}

// look notices another server.
func (s *sweeper) look(ctx context.Context) {
	if s.down.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	identity, err := redisconn.RunIDs(ctx, s.rdb)
	if err != nil || identity == "" {
		return // publishing will tell
	}
	if s.identity != "" && s.identity != identity {
		s.cfg.Logger.Warn("Redis is another server than before; recent accounts are compared with it")
		s.compare, s.all = true, true
	}
	s.identity = identity
}

// sweep publishes the outbox in the order of its ids, as far as rows are at least
// minAge old. When it leaves a row out, it leaves out all later ones of the
// row's accounts. What is in partitions that give no answer it leaves out from then on,
// and it fails at the end of the outbox.
func (s *sweeper) sweep(ctx context.Context, minAge time.Duration) error {
	s.away, s.failure = map[int]bool{}, nil
	young := map[string]struct{}{}
	for after := int64(0); ; {
		page, err := s.src.Pending(ctx, after, s.cfg.Page)
		if err != nil {
			return s.sourceFailed("read outbox", err)
		}
		if len(page) == 0 {
			return s.failure
		}
		ripe := page
		if minAge > 0 {
			ripe = ripeRows(page, time.Now(), minAge, young)
		}
		if len(ripe) > 0 {
			if err := s.publishPage(ctx, ripe); err != nil && !s.inPart(err) {
				return err
			}
		} else if len(page) == s.cfg.Page {
			return s.failure // only young rows: the fast way is busy with them
		}
		if len(page) < s.cfg.Page {
			return s.failure
		}
		after = page[len(page)-1].ID
	}
}

// inPart tells whether others can go on after an error, and notes what it says.
func (s *sweeper) inPart(err error) bool {
	var away *awayError
	if !errors.As(err, &away) {
		return false
	}
	s.failure = err
	maps.Copy(s.away, away.partitions)
	return len(s.away) < s.keys.Partitions
}

// ripeRows picks the rows that are old enough and follow no young one of
// their accounts. A row from the future is as good as old: clocks differ.
func ripeRows(page []bus.OutboxRow, now time.Time, minAge time.Duration, young map[string]struct{}) []bus.OutboxRow {
	var ripe []bus.OutboxRow
	for _, row := range page {
		age := now.Sub(row.CommittedAt)
		skip := age >= 0 && age < minAge
		for i := range row.Updates {
			if _, ok := young[row.Updates[i].Account]; ok {
				skip = true
			}
		}
		if !skip {
			ripe = append(ripe, row)
			continue
		}
		for i := range row.Updates {
			young[row.Updates[i].Account] = struct{}{}
		}
	}
	return ripe
}

// publishPage publishes rows, heals what Redis lacks for those that it refuses,
// and publishes these again. Rows that are still refused stay for the next pass.
func (s *sweeper) publishPage(ctx context.Context, rows []bus.OutboxRow) error {
	left, refused, err := s.publishAndDelete(ctx, rows)
	if err != nil && !s.inPart(err) {
		return err
	}
	refused = slices.DeleteFunc(refused, func(f refusal) bool { return s.skips(s.away, f.group) })
	if len(refused) == 0 {
		return nil
	}
	s.metrics.gaps.Add(float64(len(refused)))
	if err := s.repair(ctx, refused); err != nil {
		return err
	}
	_, _, err = s.publishAndDelete(ctx, left)
	return err
}

func (s *sweeper) publishAndDelete(ctx context.Context, rows []bus.OutboxRow) (left []bus.OutboxRow, refused []refusal, err error) {
	done, left, refused, err := s.publishRows(ctx, rows, s.away)
	if deleteErr := s.deleteRows(ctx, done); deleteErr != nil && err == nil {
		return left, refused, fmt.Errorf("delete published rows: %w", deleteErr)
	}
	return left, refused, err
}

func (s *sweeper) sourceFailed(what string, err error) error {
	s.metrics.errors.WithLabelValues("outbox").Inc()
	return fmt.Errorf("%s: %w", what, err)
}

// watchBacklog keeps the outbox gauges, also while nothing can be published.
func (r *Relay) watchBacklog(ctx context.Context) {
	for tick := time.NewTicker(r.cfg.Check); ctx.Err() == nil; {
		rows, oldest, err := r.src.Backlog(ctx)
		if err == nil {
			r.metrics.backlog.Set(float64(rows))
			age := 0.0
			if !oldest.IsZero() {
				age = max(0, time.Since(oldest).Seconds())
			}
			r.metrics.oldest.Set(age)
		} else if ctx.Err() == nil {
			r.metrics.errors.WithLabelValues("outbox").Inc()
		}
		select {
		case <-ctx.Done():
			tick.Stop()
		case <-tick.C:
		}
	}
}
