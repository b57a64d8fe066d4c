package publish

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// addSource adds events to one partition's stream. It is told everything by flat
// arguments, as publishSource is.
//
//	KEYS  stream, then each event's dedup keys
//	ARGV  maxlen, ttl in seconds, number of this call (10 digits), events; then for
//	      each event: dedup keys (0, 1 or 2), m, m fields and values
//
// It answers a Status for each event. A dedup key holds the numbers of the call and
// the event that set it, so that a call that is made again after its answer was lost
// says Published of what it published.
//
//go:embed add_events.lua
var addSource string

// EventPublisher adds the events of other producers than the ledger.
type EventPublisher struct {
	rdb     redis.UniversalClient
	cfg     bus.Config
	metrics *metrics.Bus
	script  script
	names   []partitionNames
	ttl     int64 // seconds
}

const (
	maxEvents     = 256     // in one script call, so that Redis serves others in between
	maxEventBytes = 1 << 20 // of payload in one script call
)

// NewEventPublisher returns a publisher of other producers' events.
func NewEventPublisher(rdb redis.UniversalClient, cfg bus.Config, m *metrics.Bus) *EventPublisher {
	return &EventPublisher{
		rdb: rdb, cfg: cfg, metrics: m, script: newScript(addSource), names: namesOf(cfg.Keys),
		ttl: max(1, int64(cfg.DedupTTL/time.Second)),
	}
}

// Publish adds events. See bus.Bus.
func (p *EventPublisher) Publish(ctx context.Context, events []bus.Event) ([]bus.Status, error) {
	events, err := bus.ValidateEvents(events)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	statuses := make([]bus.Status, len(events))
	calls := p.split(events)
	p.script.run(ctx, p.rdb, calls)
	for _, c := range calls {
		answers, failed := c.cmd.Result()
		if failed == nil && len(answers) != len(c.items) {
			failed = fmt.Errorf("the script answered %d numbers for %d events", len(answers), len(c.items))
		}
		if failed != nil {
			err = fmt.Errorf("publish: %w", failed)
			continue
		}
		for k, i := range c.items {
			statuses[i] = bus.Status(answers[k]) //nolint:gosec // 1 or 2
		}
	}
	p.count(events, statuses)
	return statuses, err
}

// split makes the script calls.
func (p *EventPublisher) split(events []bus.Event) []*scriptCall {
	var calls []*scriptCall
	open := make([]*scriptCall, p.cfg.Keys.Partitions)
	for i := range events {
		e := &events[i]
		partition := p.partition(e)
		c := open[partition]
		size := len(e.Data) + 200 // ids, names
		if c == nil || len(c.items) >= maxEvents || c.bytes+size > maxEventBytes {
			c = &scriptCall{}
			open[partition], calls = c, append(calls, c)
		}
		c.items = append(c.items, i)
		c.bytes += size
	}
	for _, c := range calls {
		c.args = p.callArgs(events, c.items)
	}
	return calls
}

// partition is that of the account. Events without one share their type's, so that
// duplicates meet.
func (p *EventPublisher) partition(e *bus.Event) int {
	if e.Account != "" {
		return p.cfg.Keys.Partition(e.Account)
	}
	return p.cfg.Keys.Partition(e.Type)
}

// callArgs builds the arguments of one EVALSHA; values go in as pointers, as in Publisher.callArgs.
func (p *EventPublisher) callArgs(events []bus.Event, which []int) []any {
	names := &p.names[p.partition(&events[which[0]])]
	keys := 1
	args := make([]any, argFirstKey, argFirstKey+1+4+len(which)*(2+2+18))
	arena := make([]string, 0, 3*len(which)) // never grows: the arguments point into it
	text := func(s string) *string {
		arena = append(arena, s)
		return &arena[len(arena)-1]
	}
	args = append(args, &names.stream)
	if !p.cfg.AllowDuplicates {
		for _, i := range which {
			e := &events[i]
			args = append(args, text(names.dedup+"id:"+e.ID))
			keys++
			if e.Key != "" {
				args = append(args, text(names.dedup+"key:"+e.Key))
				keys++
			}
		}
	}
	args[argCommand] = "evalsha"
	args[argScript] = p.script.hash
	args[argNumKeys] = keys
	args = append(args, p.cfg.MaxLen, p.ttl, 1_000_000_000+rand.Int64N(9_000_000_000), len(which))
	for _, i := range which {
		args = p.appendEvent(args, &events[i], text)
	}
	return args
}

func (p *EventPublisher) appendEvent(args []any, e *bus.Event, text func(string) *string) []any {
	keys := 1
	switch {
	case p.cfg.AllowDuplicates:
		keys = 0
	case e.Key != "":
		keys = 2
	}
	args = append(args, keys, nil)
	length := len(args)
	args = streamentry.AppendEventFields(args, e, text)
	args[length-1] = len(args) - length
	return args
}

func (p *EventPublisher) count(events []bus.Event, statuses []bus.Status) {
	published, duplicate := map[string]int{}, map[string]int{}
	for i, s := range statuses {
		switch s {
		case bus.Published:
			published[p.metrics.TypeLabel(events[i].Type)]++
		case bus.Duplicate:
			duplicate[p.metrics.TypeLabel(events[i].Type)]++
		case bus.Unknown, bus.Gap, bus.PartlyPublished, bus.Unwritable:
		}
	}
	metrics.AddTypes(p.metrics.Published, published)
	metrics.AddTypes(p.metrics.Duplicate, duplicate)
}
