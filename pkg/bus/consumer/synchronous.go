package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// handlersPollInterval is the time between two checks of waitForHandlers.
const handlersPollInterval = 2 * time.Millisecond

// waitForHandlers waits until the group has handled all entries that are in the streams now.
func (b *Bus) waitForHandlers(ctx context.Context) error {
	ends := make([]streamentry.ID, len(b.streams))
	for i, stream := range b.streams {
		last, err := b.rdb.XRevRangeN(ctx, stream.key, "+", "-", 1).Result()
		if err == nil {
			ends[i], err = redisconn.FirstID(last)
		}

		if err != nil {
			return fmt.Errorf("wait for handlers: %w", err)
		}
	}

	for i, stream := range b.streams {
		for ends[i] != (streamentry.ID{}) {
			done, err := b.consumedUpTo(ctx, stream, ends[i])
			if err != nil {
				return fmt.Errorf("wait for handlers: %w", err)
			}

			if done {
				break
			}

			wait.Sleep(ctx, handlersPollInterval)
		}
	}

	return nil
}

// consumedUpTo reports whether the group has acknowledged all entries of a stream up to end.
func (b *Bus) consumedUpTo(ctx context.Context, stream groupStream, end streamentry.ID) (bool, error) {
	err := ctx.Err()
	if err != nil {
		return false, err
	}

	groups, err := b.rdb.XInfoGroups(ctx, stream.key).Result()
	if err != nil {
		return false, err
	}

	for _, group := range groups {
		last, ok := streamentry.ParseID([]byte(group.LastDeliveredID))
		if group.Name != b.cfg.Group || !ok || last.Less(end) {
			continue
		}

		args := firstPending(stream.key, b.cfg.Group)
		args.End = end.String()
		pending, err := b.rdb.XPendingExt(ctx, args).Result()

		return err == nil && len(pending) == 0, err
	}

	return false, nil
}
