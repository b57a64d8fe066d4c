package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

const maxLen = 250_000 // the default of the bus

// The publishing variants, in the order of their trials.
const (
	bareXAdd   = "XADD, pipelined"
	luaXAdd    = "XADD in a script"
	busNoDedup = "bus, duplicates allowed"
	busByID    = "bus, dedup by ID"
	busByKey   = "bus, dedup by ID and Key"
)

func publishVariants() []variant {
	return []variant{
		{bareXAdd, publishBare((*trial).pipelineXAdd)},
		{luaXAdd, publishBare((*trial).scriptXAdd)},
		{busNoDedup, publishBus(bus.Config{AllowDuplicates: true}, false)},
		{busByID, publishBus(bus.Config{}, false)},
		{busByKey, publishBus(bus.Config{}, true)},
	}
}

// work is the function of a variant.
type work func(ctx context.Context, t *trial, measure func(func() error) error) error

// publishBus publishes with the bus. Unless cfg allows duplicates, the bus must then recognize a
// repeated batch.
func publishBus(cfg bus.Config, keyed bool) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		events := t.makeEvents(keyed)
		err := measure(func() error {
			err := t.publishEvents(ctx, cfg, events, bus.Published)
			if err != nil {
				return err
			}
			return t.checkStreams(ctx)
		})
		if err != nil || cfg.AllowDuplicates {
			return err
		}
		return t.publishEvents(ctx, cfg, events[:min(len(events), t.Batch)], bus.Duplicate)
	}
}

// publishEvents publishes the events in batches. All events must get the status want.
func (t *trial) publishEvents(ctx context.Context, cfg bus.Config, events []bus.Event, want bus.Status) error {
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

		i := slices.IndexFunc(statuses, func(s bus.Status) bool { return s != want })
		if i >= 0 {
			return fmt.Errorf("event %s must have status %v, but has %v",
				batch[i].ID, want, statuses[i])
		}
	}

	return nil
}

// checkStreams returns an error unless the streams have one entry for each event.
func (t *trial) checkStreams(ctx context.Context) error {
	n, err := t.rdb.Entries(ctx, t.Namespace)
	if err != nil {
		return err
	}
	if n != int64(t.Events) {
		return fmt.Errorf("the streams must have %d entries, but have %d", t.Events, n)
	}
	return nil
}

// publishBare publishes without the bus.
func publishBare(send func(*trial, context.Context, []bus.Event) error) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		events := t.makeEvents(false)
		return measure(func() error {
			for batch := range slices.Chunk(events, t.Batch) {
				err := send(t, ctx, batch)
				if err != nil {
					return err
				}
			}

			return t.checkStreams(ctx)
		})
	}
}

// entryFields returns the fields and values that the bus writes for an event.
func entryFields(e *bus.Event) []any {
	return []any{
		"id", e.ID,
		"type", e.Type,
		"account", e.Account,
		"amount", e.Amount,
		"reason", e.Reason,
		"feature", e.Feature,
		"data", e.Data,
	}
}

// pipelineXAdd adds each event with a command of its own, in one pipeline.
func (t *trial) pipelineXAdd(ctx context.Context, events []bus.Event) error {
	pipe := t.rdb.Pipeline()
	for i := range events {
		e := &events[i]
		pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: t.keys.Stream(t.keys.Partition(e.Account)),
			MaxLen: maxLen,
			Approx: true,
			Values: entryFields(e),
		})
	}

	_, err := pipe.Exec(ctx)
	return err
}

// xaddScript adds events to one stream and does nothing else. It shows the minimal cost of a
// script.
var xaddScript = redis.NewScript(`
local n = tonumber(ARGV[2])
for i = 3, #ARGV, n do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, i, i + n - 1))
end
return 1
`)

// scriptXAdd adds the events of each partition with one call of the script, in one pipeline.
func (t *trial) scriptXAdd(ctx context.Context, events []bus.Event) error {
	args := make([][]any, t.keys.Partitions)
	for i := range events {
		p := t.keys.Partition(events[i].Account)
		fields := entryFields(&events[i])
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
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // the server does not have the script yet
		err = send(xaddScript.Eval)
	}
	return err
}
