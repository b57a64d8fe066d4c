package backfill

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// A mark is the end of a partition's stream at one time.
type mark struct {
	last       streamentry.ID // of all entries that were ever added; this one may be trimmed
	added      int64          // number of all entries that were ever added; 0: Redis does not count them
	hadEntries bool
	relayed    int64 // transactions before this time, in ms, were published before; 0: unknown
}

// markStreams returns a mark of each partition's stream, and notes up to which time all transactions
// were published before.
func (c *Copier) markStreams(ctx context.Context) ([]mark, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	relayed := make([]*redis.StringCmd, c.cfg.Keys.Partitions)
	streams := make([]*redis.XInfoStreamCmd, c.cfg.Keys.Partitions)
	for p := range relayed {
		relayed[p] = pipe.Get(ctx, c.cfg.Keys.Relayed(p)) // before the stream is read
		streams[p] = pipe.XInfoStream(ctx, c.cfg.Keys.Stream(p))
	}

	_, _ = pipe.Exec(ctx) // each command has its own error

	marks := make([]mark, len(streams))
	for p := range marks {
		stream, err := streams[p].Result()
		if err != nil {
			return nil, fmt.Errorf("read the end of a stream: %w", err)
		}

		ms, err := relayed[p].Int64()
		isAbsent := errors.Is(err, redis.Nil)
		if err != nil && !isAbsent {
			return nil, fmt.Errorf("read a watermark: %w", err)
		}

		last, _ := streamentry.ParseID([]byte(stream.LastGeneratedID))
		marks[p] = mark{
			last:       last,
			added:      stream.EntriesAdded,
			hadEntries: stream.Length > 0,
			relayed:    ms,
		}
		c.relayed[p] = ms
	}

	return marks, nil
}

// isTrimmedAfter reports whether a stream may have lost entries after the marks.
func (c *Copier) isTrimmedAfter(ctx context.Context, marks []mark) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	streams := make([]*redis.XInfoStreamCmd, len(marks))
	oldest := make([]*redis.XMessageSliceCmd, len(marks))
	for p := range marks {
		streams[p] = pipe.XInfoStream(ctx, c.cfg.Keys.Stream(p))
		oldest[p] = pipe.XRangeN(ctx, c.cfg.Keys.Stream(p), "-", "+", 1)
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("read the starts of the streams: %w", err)
	}

	for p := range marks {
		first, err := redisconn.FirstID(oldest[p].Val())
		if err != nil {
			return false, err
		}

		if marks[p].isTrimmed(streams[p].Val(), first) {
			return true, nil
		}
	}

	return false, nil
}

// isTrimmed reports whether the stream may have lost entries after the mark. The embedded Redis of
// development mode does not count entries. There, the loss of all entries is not noticed if the
// stream was empty at the mark.
func (m *mark) isTrimmed(stream *redis.XInfoStream, oldest streamentry.ID) bool {
	if stream.EntriesAdded == 0 {
		return m.hadEntries && m.last.Less(oldest)
	}

	removed := stream.EntriesAdded - stream.Length
	wasReplaced := stream.EntriesAdded < m.added
	return removed > m.added || wasReplaced
}

// startField has the last id of a stream when the copying began.
func (c *Copier) startField() string { return "start:" + c.cfg.Name }

func (c *Copier) storeStart(ctx context.Context, marks []mark) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	for p := range marks {
		pipe.HSet(ctx, c.hashKey(p), c.startField(), marks[p].last.String())
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the start of the backfill: %w", err)
	}

	return nil
}

// storeSeam stores the marks as the seam, unless another process has the lock now.
func (c *Copier) storeSeam(ctx context.Context, l *lock, marks []mark) error {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()

	for p := range marks {
		m := &marks[p]
		keys := []string{c.hashKey(p)}
		stored, err := storeSeamScript.Run(ctx, c.rdb, keys, c.cfg.Name, l.fence, m.last.String(), m.added, m.relayed).Int()
		switch {
		case err != nil:
			return fmt.Errorf("store the seam: %w", err)
		case stored == 0:
			return errLockLost
		}
	}

	return nil
}
