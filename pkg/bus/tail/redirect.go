package tail

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// A raw reply hides MOVED and ASK from go-redis. While a cluster moves a slot
// these slower calls are made instead; go-redis follows the redirections and
// learns the new place.

func (r *reader) readRedirected(ctx context.Context, ids []any) error {
	r.entries.Reset()
	args := &redis.XReadArgs{Count: int64(r.t.cfg.Count), Block: r.t.cfg.Block}
	for i := range r.parts {
		args.Streams = append(args.Streams, r.parts[i].stream)
	}
	for _, id := range ids {
		args.Streams = append(args.Streams, fmt.Sprint(id))
	}
	streams, err := r.t.rdb.XRead(ctx, args).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	for _, s := range streams {
		p := &r.parts[r.byName[s.Stream]]
		p.found = len(s.Messages)
		for _, message := range s.Messages {
			p.next, err = r.entries.DecodeMessage(message.ID, message.Values)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) refillRedirected(ctx context.Context, p *position, count int) (int, streamentry.ID, error) {
	r.entries.Reset()
	messages, err := r.t.rdb.XRevRangeN(ctx, p.stream, "+", "-", int64(count)).Result()
	if err != nil {
		return 0, streamentry.ID{}, err
	}
	newest, err := redisconn.FirstID(messages)
	if err != nil {
		return 0, streamentry.ID{}, err
	}
	for _, message := range messages {
		if _, err := r.entries.DecodeMessage(message.ID, message.Values); err != nil {
			return 0, streamentry.ID{}, err
		}
	}
	return len(messages), newest, nil
}
