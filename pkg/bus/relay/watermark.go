package relay

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A partition's watermark is the time, in ms since 1970, at which a relay had last published all
// rows of the outbox. Redis stores it beside the data. If Redis returns to an older state, its
// watermark is older too, and all events that it lacks were published after that time.

// watermarkInterval is the maximum time between two moves of the watermarks, apart from the interval
// of the sweep. Gateways notice by a watermark that stands still that Redis is not written to.
const watermarkInterval = 2 * time.Second

// noWatermark is the value of a watermark that does not exist.
const noWatermark = -1

// watermarkScript advances a watermark to ARGV[2]. It does not change a watermark that is older
// than ARGV[1], the last one that the relay knows, since accounts must be compared from the older
// time. It returns the watermark that it found, or -1 if there was none.
//
//go:embed watermark.lua
var watermarkScript string

// moveWatermarks advances the watermarks to the last good pass, and records which partitions can be
// written. It requests a comparison when a watermark is older than before, since Redis has then
// returned to an older state or was emptied. A watermark that cannot be written stays as it is; a
// later comparison then starts earlier than necessary.
func (s *sweeper) moveWatermarks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	s.watermarksMoved = time.Now()
	target := s.lastGood.UnixMilli()
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.Cmd, len(s.watermarks))

	for i, known := range s.watermarks {
		cmds[i] = pipe.Eval(ctx, watermarkScript, []string{s.keys.Relayed(i)}, known, target)
	}

	_, _ = pipe.Exec(ctx) // each command has its own error

	wentBack := false
	failed := false
	for i, cmd := range cmds {
		found, err := cmd.Int64()
		isWrongType := redis.HasErrorPrefix(err, "WRONGTYPE") // of the watermark only
		if !errors.Is(ctx.Err(), context.Canceled) {
			s.setFailing(i, s.failedPartitions[i] || (err != nil && !isWrongType))
		}

		switch {
		case err != nil: // a lasting failure shows when the relay publishes
			failed = true
		case found < s.watermarks[i]:
			wentBack = true // keep the known watermark until a comparison has read the new one
		default:
			s.watermarks[i] = max(found, target)
		}
	}

	if !failed {
		s.metrics.noteSuccess(loopWatermarks)
	}

	if wentBack {
		s.cfg.Logger.Warn("Redis returned to an older state; comparing the accounts that changed since")
		s.requestComparison()
	}
}

// comparisonStart reads the watermarks and returns the time from which accounts must be compared.
// Redis may have the state of an earlier time than the last good pass. A missing watermark is
// ignored: Redis was emptied, so the account has no hash either, and its balance is read from the
// ledger.
func (s *sweeper) comparisonStart(ctx context.Context) (time.Time, error) {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(s.watermarks))

	for i := range cmds {
		cmds[i] = pipe.Get(limited, s.keys.Relayed(i))
	}

	_, _ = pipe.Exec(limited) // each command has its own error

	start := s.lastGood
	unanswered := map[int]bool{} // partitions
	var failed error

	for i, cmd := range cmds {
		text, err := cmd.Result()
		if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			unanswered[i] = true
			failed = fmt.Errorf("read watermarks: %w", err)
			continue
		}

		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 {
			s.watermarks[i] = noWatermark
			continue
		}

		s.watermarks[i] = ms
		watermark := time.UnixMilli(ms)
		if watermark.Before(start) {
			start = watermark
		}
	}

	if failed != nil && ctx.Err() == nil {
		failed = s.markUnavailable(unanswered, len(unanswered) < len(cmds), failed)
	}

	return start.Add(-s.cfg.Quiet), failed
}
