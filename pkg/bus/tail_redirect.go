package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// A raw reply hides MOVED and ASK from go-redis. While a cluster moves a slot
// these slower calls are made instead; go-redis follows the redirections and
// learns the new place.

func redirected(err error) bool {
	var answer resp.Error
	return errors.As(err, &answer) && answer.Redirected()
}

func (r *tailReader) readRedirected(ctx context.Context, ids []any) error {
	r.entries.reset()
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
		p.found, _, p.next, err = r.entries.typed(s.Messages)
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *tailReader) refillRedirected(ctx context.Context, p *tailPosition, count int) (int, streamentry.ID, error) {
	r.entries.reset()
	messages, err := r.t.rdb.XRevRangeN(ctx, p.stream, "+", "-", int64(count)).Result()
	if err != nil {
		return 0, streamentry.ID{}, err
	}
	n, newest, _, err := r.entries.typed(messages)
	return n, newest, err
}

// typed is list for entries that go-redis parsed.
func (e *entries) typed(messages []redis.XMessage) (n int, first, last streamentry.ID, err error) {
	for i, m := range messages {
		id, ok := streamentry.ParseID([]byte(m.ID))
		if !ok {
			return 0, streamentry.ID{}, streamentry.ID{}, fmt.Errorf("%w: entry id %q", resp.ErrProtocol, m.ID)
		}
		d := e.next(id)
		for name, value := range m.Values {
			text, _ := value.(string)
			e.set(d, []byte(name), []byte(text))
		}
		e.keep(d)
		if last = id; i == 0 {
			first = id
		}
	}
	return len(messages), first, last, nil
}
