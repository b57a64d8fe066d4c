package consumer

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// A read of new entries and a claim give entries to this consumer. If the reply is lost and go-redis
// repeats the command, Redis answers with other entries and the first ones wait until they are claimed.
// So these commands are sent once: the reader notices the error and reads again what is its own.

type readOnce struct{ *redis.XStreamSliceCmd }

// NoRetry implements redis.Cmder.
func (readOnce) NoRetry() bool { return true }

type claimOnce struct{ *redis.XAutoClaimCmd }

// NoRetry implements redis.Cmder.
func (claimOnce) NoRetry() bool { return true }

// readNew reads new entries of the streams; block is how long Redis waits for them, negative: not at all.
// The block must be shorter than the client's read timeout.
func (r *reader) readNew(ctx context.Context, count int, block time.Duration) ([]redis.XStream, error) {
	args := []any{"xreadgroup", "group", r.b.cfg.Group, r.b.cfg.Consumer, "count", count}
	if block >= 0 {
		args = append(args, "block", block.Milliseconds())
	}
	args = append(args, "streams")
	firstKey := len(args)
	for _, name := range r.streams {
		args = append(args, name)
	}
	cmd := readOnce{redis.NewXStreamSliceCmd(ctx, args...)}
	cmd.SetFirstKeyPos(int8(firstKey)) //nolint:gosec // 7 or 9
	_ = r.b.rdb.Process(ctx, cmd)      // the command has the error
	return cmd.Result()
}

// claimIdle takes over entries of the stream that nobody has shown a sign of life for.
func (r *reader) claimIdle(ctx context.Context, stream, from string, count int) ([]redis.XMessage, string, error) {
	cmd := claimOnce{redis.NewXAutoClaimCmd(ctx, "xautoclaim", stream, r.b.cfg.Group, r.b.cfg.Consumer,
		r.b.cfg.ClaimAfter.Milliseconds(), from, "count", count)}
	_ = r.b.rdb.Process(ctx, cmd) // the command has the error
	return cmd.Result()
}
