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

// A partition's mark is the time, in ms since 1970, at which a relay had last
// published all that there was. It stands beside what it speaks of, so a Redis that
// has gone back in time has an old mark: what it lacks was published after that.

// markSource moves a mark on. It leaves one that is older than the relay knows it
// (ARGV[1]), since that tells from when on accounts are to be compared. It answers the
// mark that it found; -1: none.
//
//go:embed watermark.lua
var markSource string

// moveWatermarks moves the marks on to the last good pass, and notices a Redis that has gone
// back in time, or was emptied. What cannot be written stays as it is: then a comparison
// begins earlier than it must.
func (s *sweeper) moveWatermarks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	s.marked = time.Now()
	now := s.lastGood.UnixMilli()
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.Cmd, len(s.watermarks))
	for i, known := range s.watermarks {
		cmds[i] = pipe.Eval(ctx, markSource, []string{s.keys.Relayed(i)}, known, now)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	back := false
	for i, cmd := range cmds {
		have, err := cmd.Int64()
		switch {
		case err != nil: // publishing will tell
		case have < s.watermarks[i]:
			back = true // and stays known, until a comparison has read the marks
		default:
			s.watermarks[i] = max(have, now)
		}
	}
	if back {
		s.cfg.Logger.Warn("Redis has gone back in time; accounts that changed since are compared with it")
		s.compare, s.all = true, true
	}
}

// compareFrom reads the marks and tells since when accounts are to be compared: Redis
// may come from a time before the last good pass. Where a mark is missing, Redis was
// emptied: it has no hash either, and who asks for a balance is sent to the ledger.
func (s *sweeper) compareFrom(ctx context.Context) (time.Time, error) {
	within, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(s.watermarks))
	for i := range cmds {
		cmds[i] = pipe.Get(within, s.keys.Relayed(i))
	}
	_, _ = pipe.Exec(within) // each command has its own error
	from, unanswered := s.lastGood, map[int]bool{}
	var failed error
	for i, cmd := range cmds {
		text, err := cmd.Result()
		if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			unanswered[i], failed = true, fmt.Errorf("read marks: %w", err)
			continue
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 {
			ms = -1
		} else if at := time.UnixMilli(ms); at.Before(from) {
			from = at
		}
		s.watermarks[i] = ms
	}
	if failed != nil && ctx.Err() == nil {
		failed = s.markUnavailable(unanswered, len(unanswered) < len(cmds), failed)
	}
	return from.Add(-s.cfg.Quiet), failed
}
