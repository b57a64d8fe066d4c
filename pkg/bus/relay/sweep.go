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

// minSweepPause is the shortest time between two sweeps that sweepNow requested.
const minSweepPause = 20 * time.Millisecond

// maxFailedPages bounds the pages of the outbox that a pass reads while a partition does not answer.
// The outbox grows meanwhile, and most of its rows belong to that partition.
const maxFailedPages = 64

// sweeper is the state that the sweep keeps between its passes.
type sweeper struct {
	*Relay
	serverID        string    // run ids of the Redis servers at the last check
	lastGood        time.Time // when a pass last succeeded completely; at first, when the relay started
	hasPassed       bool      // a pass has succeeded completely
	compare         bool      // the next pass compares quiet accounts with their balance hashes
	ignoreAge       bool      // the next pass includes rows younger than Config.MinAge
	watermarks      []int64   // last known watermark of each partition
	watermarksMoved time.Time // when moveWatermarks last ran
	tips            tipCheck
	comparison      comparison

	// The current pass: partitions that have not answered, and the last error.
	failedPartitions map[int]bool
	failure          error
	resumeAfter      int64 // row of the outbox after which the next pass begins; 0: at its beginning
}

// keepSweeping passes through the outbox at the start, on each tick and on each sweepNow token,
// until ctx ends.
func (r *Relay) keepSweeping(ctx context.Context) {
	s := &sweeper{
		Relay:      r,
		lastGood:   time.Now(),
		compare:    true,
		ignoreAge:  true,
		watermarks: slices.Repeat([]int64{noWatermark}, r.keys.Partitions),
		tips:       tipCheck{checked: make([]string, r.keys.Partitions), newest: make([]tip, r.keys.Partitions)},
	}

	retry := backoff.ExponentialBackOff{
		InitialInterval:     20 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         r.cfg.MaxBackoff,
	}

	tick := time.NewTicker(r.cfg.Sweep)
	defer tick.Stop()

	check := time.NewTicker(r.cfg.Check)
	defer check.Stop()

	s.checkServerID(ctx)
	for ctx.Err() == nil {
		err := s.runPass(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}

			s.handlePassError(err)
			if s.hasPassed && time.Since(s.watermarksMoved) >= r.cfg.Check {
				s.moveWatermarks(ctx) // to the last good pass, in order to find out what can be written
			}

			wait.Sleep(ctx, retry.NextBackOff())
			continue
		}

		retry.Reset()

		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-r.sweepNow:
			s.ignoreAge = true
			wait.Sleep(ctx, minSweepPause)
		case <-check.C:
			s.checkServerID(ctx)
		}
	}
}

// requestComparison makes the next pass compare quiet accounts and include rows of any age.
func (s *sweeper) requestComparison() {
	s.compare = true
	s.ignoreAge = true
}

func (s *sweeper) handlePassError(err error) {
	s.requestComparison()
	s.logLimit.Do(func() {
		s.cfg.Logger.Warn("publishing the outbox failed; retrying", "error", err)
	})
}

// runPass goes through the outbox once. Before, it looks for events that the ledger has lost. It then
// compares quiet accounts if a comparison is due.
func (s *sweeper) runPass(ctx context.Context) error {
	if s.redisDown.Load() {
		err := s.pingRedis(ctx)
		if err != nil {
			return err
		}

		// Offers are accepted again from here on. Earlier offers were committed earlier, so this
		// pass sees their rows.
		s.redisDown.Store(false)
		s.requestComparison()
	}

	s.noticeReplacedLedger()
	err := s.checkTips(ctx)
	if err != nil {
		return err
	}

	err = s.checkSuspects(ctx)
	if err != nil {
		return err
	}

	minAge := s.cfg.MinAge
	if s.ignoreAge {
		minAge = 0
	}

	s.metrics.sweeps.Inc()
	err = s.sweepOutbox(ctx, minAge)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}

	s.ignoreAge = false

	watermarksDue := s.compare || time.Since(s.watermarksMoved) >= min(s.cfg.Check, watermarkInterval)
	if s.compare {
		err := s.compareAccounts(ctx)
		if err != nil {
			return err
		}
	}

	s.clearUnavailable()
	s.lastGood = time.Now()
	s.hasPassed = true
	s.metrics.noteSuccess(loopSweep)
	if watermarksDue {
		s.moveWatermarks(ctx)
	}

	s.runComparison(ctx)
	return nil
}

func (s *sweeper) pingRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	err := s.rdb.Ping(ctx).Err()
	if err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}

	return nil
}

func (s *sweeper) compareAccounts(ctx context.Context) error {
	start, err := s.comparisonStart(ctx)
	if err != nil {
		return err
	}

	complete, err := s.reconcileAccounts(ctx, start)
	if err != nil {
		return fmt.Errorf("compare quiet accounts: %w", err)
	}

	s.compare = !complete
	return nil
}

// checkServerID requests a comparison if Redis is another server than at the last check.
func (s *sweeper) checkServerID(ctx context.Context) {
	if s.redisDown.Load() {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	serverID, err := redisconn.RunIDs(ctx, s.rdb)
	if err != nil || serverID == "" {
		return // a lasting failure shows when the relay publishes
	}

	if s.serverID != "" && s.serverID != serverID {
		s.cfg.Logger.Warn("Redis is another server than before; comparing the accounts that changed recently")
		s.requestComparison()
	}

	s.serverID = serverID
}

// sweepOutbox publishes the rows of the outbox that are at least minAge old, in the order of their
// ids. After it skips a row, it skips all later rows of the row's accounts. After a partition does
// not answer, it skips the partition's updates and returns the error at the end of the outbox, or
// after maxFailedPages. The next call then continues there.
func (s *sweeper) sweepOutbox(ctx context.Context, minAge time.Duration) error {
	s.failedPartitions = map[int]bool{}
	s.failure = nil
	young := map[string]struct{}{} // accounts with a skipped row
	after := s.resumeAfter
	s.resumeAfter = 0
	isFromStart := after == 0

	for pages := 1; ; pages++ {
		page, err := s.readPending(ctx, after)
		if err != nil {
			return err
		}

		isLastPage := len(page) < s.cfg.Page
		rows := page
		if minAge > 0 {
			rows = selectOldRows(page, time.Now(), minAge, young)
		}

		if len(rows) > 0 {
			err := s.publishPage(ctx, rows)
			if err != nil && !s.recordPartialFailure(err) {
				return err
			}
		} else if !isLastPage {
			return s.failure // the relay is publishing these young rows, so stop here
		}

		switch {
		case isLastPage && (isFromStart || s.failure != nil):
			return s.failure
		case isLastPage:
			after = 0
			isFromStart = true
		case s.failure != nil && pages >= maxFailedPages:
			s.resumeAfter = page[len(page)-1].ID
			return s.failure
		default:
			after = page[len(page)-1].ID
		}
	}
}

// recordPartialFailure records the partitions that did not answer. It returns false if the pass
// cannot continue, because the error has another cause or no partition answers.
func (s *sweeper) recordPartialFailure(err error) bool {
	var unavailable *unavailableError
	if !errors.As(err, &unavailable) {
		return false
	}

	s.failure = err
	maps.Copy(s.failedPartitions, unavailable.partitions)
	return len(s.failedPartitions) < s.keys.Partitions
}

// selectOldRows returns the rows that are at least minAge old and follow no younger row of their
// accounts. It adds the accounts of the other rows to young. A row from the future counts as old,
// since clocks differ.
func selectOldRows(page []bus.OutboxRow, now time.Time, minAge time.Duration, young map[string]struct{}) []bus.OutboxRow {
	var rows []bus.OutboxRow
	for _, row := range page {
		age := now.Sub(row.CommittedAt)
		skip := age >= 0 && age < minAge
		for i := range row.Updates {
			if _, ok := young[row.Updates[i].Account]; ok {
				skip = true
			}
		}

		if !skip {
			rows = append(rows, row)
			continue
		}

		for i := range row.Updates {
			young[row.Updates[i].Account] = struct{}{}
		}
	}

	return rows
}

// publishPage publishes rows. For the refused ones it publishes the updates that Redis lacks and
// then publishes the rows again. Rows that are refused again stay for the next pass.
func (s *sweeper) publishPage(ctx context.Context, rows []bus.OutboxRow) error {
	result, err := s.publishAndDelete(ctx, rows)
	if err != nil && !s.recordPartialFailure(err) {
		return err
	}

	refusals := slices.DeleteFunc(result.refusals, func(refused refusal) bool {
		return s.isInPartitions(refused.update, s.failedPartitions)
	})

	if len(refusals) == 0 {
		return nil
	}

	s.metrics.gaps.Add(float64(len(refusals)))
	err = s.repairGaps(ctx, refusals)
	if err != nil {
		return err
	}

	_, err = s.publishAndDelete(ctx, result.remaining)
	return err
}

// publishAndDelete publishes rows and deletes the published ones from the outbox.
func (s *sweeper) publishAndDelete(ctx context.Context, rows []bus.OutboxRow) (publishResult, error) {
	result, err := s.publishRows(ctx, rows, s.failedPartitions)
	if s.isLedgerReplaced() {
		return result, errLedgerReplaced // the ids may be those of other rows now
	}

	deleteErr := s.deleteRows(ctx, result.published)
	if deleteErr != nil && err == nil {
		err = fmt.Errorf("delete published rows: %w", deleteErr)
	}

	return result, err
}

func (s *sweeper) wrapSourceError(operation string, err error) error {
	s.metrics.errors.WithLabelValues(reasonOutbox).Inc()
	return fmt.Errorf("%s: %w", operation, err)
}
