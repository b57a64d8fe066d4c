package consumer

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reading new entries and claiming assign entries to this consumer. If the reply is lost and
// go-redis repeats the command, Redis answers with other entries, and the first ones wait until
// they are claimed. These commands are therefore never repeated: after an error the reader reads
// its own pending entries again.

type readCommand struct{ *redis.XStreamSliceCmd }

// NoRetry implements redis.Cmder.
func (readCommand) NoRetry() bool { return true }

type claimCommand struct{ *redis.XAutoClaimCmd }

// NoRetry implements redis.Cmder.
func (claimCommand) NoRetry() bool { return true }

// sendReadGroup reads new entries of the streams. Redis waits for them for up to block; a negative
// block does not wait. block must be shorter than the client's read timeout.
func (r *reader) sendReadGroup(ctx context.Context, count int, block time.Duration) ([]redis.XStream, error) {
	args := []any{"xreadgroup", "group", r.b.cfg.Group, r.b.cfg.Consumer, "count", count}
	if block >= 0 {
		args = append(args, "block", block.Milliseconds())
	}

	args = append(args, "streams")
	firstKey := len(args)
	for _, arg := range r.streamArgs {
		args = append(args, arg)
	}

	cmd := readCommand{redis.NewXStreamSliceCmd(ctx, args...)}
	cmd.SetFirstKeyPos(int8(firstKey)) //nolint:gosec // 7 or 9
	_ = r.b.rdb.Process(ctx, cmd)      // the command has the error

	return cmd.Result()
}

// sendAutoClaims claims entries that have been idle for Config.ClaimAfter, up to count of each
// stream. from is the id at which each stream begins. It sends one pipeline. A pipeline with such a
// command is not repeated either.
func (r *reader) sendAutoClaims(ctx context.Context, from map[int]string, count int) (map[int]claimCommand, error) {
	pipe := r.b.rdb.Pipeline()
	cmds := make(map[int]claimCommand, len(from))
	for n, start := range from {
		cmds[n] = claimCommand{redis.NewXAutoClaimCmd(ctx,
			"xautoclaim", r.b.streams[n].key, r.b.cfg.Group, r.b.cfg.Consumer, r.b.cfg.ClaimAfter.Milliseconds(), start, "count", count)}
		_ = pipe.Process(ctx, cmds[n]) // only queues the command
	}

	_, err := pipe.Exec(ctx)
	return cmds, err
}
