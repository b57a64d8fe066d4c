package tail

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// With a raw reply go-redis does not see MOVED and ASK. While a cluster moves a slot, the reader
// makes these slower calls instead. go-redis follows their redirections and learns the slot's new
// node.

func (r *reader) readRedirected(ctx context.Context, ids []any) error {
	r.decoder.Reset()
	args := &redis.XReadArgs{Count: int64(r.t.cfg.Count), Block: r.t.cfg.Block}
	for i := range r.positions {
		args.Streams = append(args.Streams, r.positions[i].stream)
	}

	for _, id := range ids {
		args.Streams = append(args.Streams, fmt.Sprint(id))
	}

	replies, err := r.t.rdb.XRead(ctx, args).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}

	for _, reply := range replies {
		p := &r.positions[r.byKey[reply.Stream]]
		p.found = len(reply.Messages)
		for _, message := range reply.Messages {
			p.next, err = r.decoder.DecodeMessage(message.ID, message.Values)
			if err != nil {
				return err
			}
		}
	}

	return nil
}

func (r *reader) refillRedirected(ctx context.Context, p *position, count int) (int, streamentry.ID, error) {
	r.decoder.Reset()
	messages, err := r.t.rdb.XRevRangeN(ctx, p.stream, "+", "-", int64(count)).Result()
	if err != nil {
		return 0, streamentry.ID{}, err
	}

	newest, err := redisconn.FirstID(messages)
	if err != nil {
		return 0, streamentry.ID{}, err
	}

	for _, message := range messages {
		_, err := r.decoder.DecodeMessage(message.ID, message.Values)
		if err != nil {
			return 0, streamentry.ID{}, err
		}
	}

	return len(messages), newest, nil
}
