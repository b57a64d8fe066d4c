package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// Reading new entries and claiming assign entries to this consumer. If the reply is lost and
// go-redis repeats the command, Redis answers with other entries, and the first ones wait until
// they are claimed. These commands are therefore never repeated: after an error the reader reads
// its own pending entries again.

// callTimeout bounds a call of a reader that does not wait for entries, including the retries of
// go-redis. If a node of a cluster hangs, the next call goes to the one that has taken its place.
const callTimeout = 2 * time.Second

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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

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

// sendReadPending reads the consumer's own pending entries of stream n that come after an entry.
func (r *reader) sendReadPending(ctx context.Context, n int, after streamentry.ID, count int) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	replies, err := r.b.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group:    r.b.cfg.Group,
		Consumer: r.b.cfg.Consumer,
		Streams:  []string{r.b.streams[n].key, after.String()},
		Count:    int64(count),
		Block:    -1,
	}).Result()
	isEmpty := errors.Is(err, redis.Nil) || (err == nil && len(replies) == 0)
	if isEmpty {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	return replies[0].Messages, nil
}
