package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

const maxLen = 1_000_000 // as the bus' default

// The publishing variants, in the order of their trials.
const (
	bareXAdd   = "XADD, pipelined"
	luaXAdd    = "XADD in a script"
	busNoDedup = "bus, duplicates allowed"
	busByID    = "bus, dedup by ID"
	busByKey   = "bus, dedup by ID and Key"
)

func publishing() []variant {
	return []variant{
		{bareXAdd, publishBare((*trial).pipelineXAdd)},
		{luaXAdd, publishBare((*trial).scriptXAdd)},
		{busNoDedup, publishBus(bus.Config{AllowDuplicates: true}, false)},
		{busByID, publishBus(bus.Config{}, false)},
		{busByKey, publishBus(bus.Config{}, true)},
	}
}

type work func(ctx context.Context, t *trial, measure func(func() error) error) error

// publishBus publishes with the bus, which must then know the events again unless it
// was told not to look.
func publishBus(cfg bus.Config, keyed bool) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		events := t.makeEvents(keyed)
		if err := measure(func() error {
			if err := t.publish(ctx, cfg, events, bus.Published); err != nil {
				return err
			}
			return t.checkStreams(ctx)
		}); err != nil || cfg.AllowDuplicates {
			return err
		}
		return t.publish(ctx, cfg, events[:min(len(events), t.Batch)], bus.Duplicate)
	}
}

// publish publishes events that all must get the same status.
func (t *trial) publish(ctx context.Context, cfg bus.Config, events []bus.Event, want bus.Status) error {
	cfg.Keys = t.keys
	b, err := consumer.New(t.rdb, cfg)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(events, t.Batch) {
		statuses, err := b.Publish(ctx, batch...)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(statuses, func(s bus.Status) bool { return s != want }); i >= 0 {
			return fmt.Errorf("event %s has status %v, not %v", batch[i].ID, statuses[i], want)
		}
	}
	return nil
}

// checkStreams counts the streams' entries.
func (t *trial) checkStreams(ctx context.Context) error {
	n, err := t.rdb.Entries(ctx, t.Namespace)
	if err == nil && n != int64(t.Events) {
		err = fmt.Errorf("the streams hold %d entries, not %d", n, t.Events)
	}
	return err
}

// publishBare publishes without the bus.
func publishBare(send func(*trial, context.Context, []bus.Event) error) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		events := t.makeEvents(false)
		return measure(func() error {
			for batch := range slices.Chunk(events, t.Batch) {
				if err := send(t, ctx, batch); err != nil {
					return err
				}
			}
			return t.checkStreams(ctx)
		})
	}
}

// fieldsOf are the fields and values that the bus writes of these events.
func fieldsOf(e *bus.Event) []any {
	return []any{
		"id", e.ID, "type", e.Type, "account", e.Account, "amount", e.Amount, "reason", e.Reason, "feature", e.Feature, "data", e.Data,
	}
}

func (t *trial) pipelineXAdd(ctx context.Context, events []bus.Event) error {
	pipe := t.rdb.Pipeline()
	for i := range events {
		e := &events[i]
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: t.keys.Stream(t.keys.Partition(e.Account)), MaxLen: maxLen, Approx: true, Values: fieldsOf(e)})
	}
	_, err := pipe.Exec(ctx)
	return err
}

// xaddScript adds events to one stream and does nothing else: the least that a
// script costs.
var xaddScript = redis.NewScript(`
local n = tonumber(ARGV[2])
for i = 3, #ARGV, n do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, i, i + n - 1))
end
return 1
`)

// scriptXAdd makes one call for the events of each partition, in one pipeline.
func (t *trial) scriptXAdd(ctx context.Context, events []bus.Event) error {
	args := make([][]any, t.keys.Partitions)
	for i := range events {
		p := t.keys.Partition(events[i].Account)
		fields := fieldsOf(&events[i])
		if args[p] == nil {
			args[p] = []any{maxLen, len(fields)}
		}
		args[p] = append(args[p], fields...)
	}
	send := func(call func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) error {
		pipe := t.rdb.Pipeline()
		for p, a := range args {
			if a != nil {
				call(ctx, pipe, []string{t.keys.Stream(p)}, a...)
			}
		}
		_, err := pipe.Exec(ctx)
		return err
	}
	err := send(xaddScript.EvalSha)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // at the first call none of them is known
		err = send(xaddScript.Eval)
	}
	return err
}
