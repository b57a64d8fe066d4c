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

// addSource adds events to one partition's stream. Like publishSource, it takes flat arguments.
//
//	KEYS  stream, then each event's dedup keys
//	ARGV  maxlen, ttl in seconds, number of this call (10 digits), number of events; then for
//	      each event: number of dedup keys (0, 1 or 2), m, m fields and values
//
// It returns a Status for each event. A dedup key contains the number of the call and the number of
// the event that set it. If a call is repeated after its reply was lost, its events are therefore
// answered Published again.
//
//go:embed add_events.lua
var addSource string

// EventPublisher publishes the events of producers other than the ledger.
type EventPublisher struct {
	rdb        redis.UniversalClient
	cfg        bus.Config
	metrics    *metrics.Bus
	script     script
	prefixes   []keyPrefixes // by partition
	ttlSeconds int64
}

// Limits of one script call, so that Redis can serve other clients in between.
const (
	maxEvents     = 256
	maxEventBytes = 1 << 20 // payload
)

// eventOverhead is about how many bytes an event takes besides its payload: ids and names.
const eventOverhead = 200

// NewEventPublisher returns a publisher of the events of other producers.
func NewEventPublisher(rdb redis.UniversalClient, cfg bus.Config, m *metrics.Bus) *EventPublisher {
	return &EventPublisher{
		rdb:        rdb,
		cfg:        cfg,
		metrics:    m,
		script:     newScript(addSource),
		prefixes:   newKeyPrefixes(cfg.Keys),
		ttlSeconds: max(1, int64(cfg.DedupTTL/time.Second)),
	}
}

// Publish adds events. See bus.Bus.
func (p *EventPublisher) Publish(ctx context.Context, events []bus.Event) ([]bus.Status, error) {
	events, err := bus.ValidateEvents(events)
	if err != nil || len(events) == 0 {
		return nil, err
	}

	statuses := make([]bus.Status, len(events))
	calls := p.makeCalls(events)
	p.script.runCalls(ctx, p.rdb, calls)

	for _, call := range calls {
		callErr := call.readStatuses(statuses)
		if callErr != nil {
			err = fmt.Errorf("publish: %w", callErr)
		}
	}

	p.countStatuses(events, statuses)
	return statuses, err
}

// readStatuses sets the status of each event of the call.
func (c *scriptCall) readStatuses(statuses []bus.Status) error {
	reply, err := c.cmd.Result()
	if err != nil {
		return err
	}

	if len(reply) != len(c.items) {
		return fmt.Errorf("the script returned %d numbers for %d events", len(reply), len(c.items))
	}

	for k, i := range c.items {
		statuses[i] = bus.Status(reply[k]) //nolint:gosec // 1 or 2
	}

	return nil
}

// makeCalls distributes the events over script calls.
func (p *EventPublisher) makeCalls(events []bus.Event) []*scriptCall {
	var calls []*scriptCall
	open := make([]*scriptCall, p.cfg.Keys.Partitions) // call to which events can be added, by partition
	for i := range events {
		e := &events[i]
		partition := p.partitionOf(e)
		call := open[partition]
		size := len(e.Data) + eventOverhead
		if call == nil || len(call.items) >= maxEvents || call.bytes+size > maxEventBytes {
			call = &scriptCall{}
			open[partition] = call
			calls = append(calls, call)
		}

		call.items = append(call.items, i)
		call.bytes += size
	}

	for _, call := range calls {
		call.args = p.buildArgs(events, call.items)
	}

	return calls
}

// partitionOf returns the partition of the event's account. Events without an account go to the
// partition of their type, so that their duplicates are found.
func (p *EventPublisher) partitionOf(e *bus.Event) int {
	if e.Account != "" {
		return p.cfg.Keys.Partition(e.Account)
	}
	return p.cfg.Keys.Partition(e.Type)
}

// buildArgs returns the arguments of one EVALSHA for some of the events. Values are pointers, as in
// Publisher.buildArgs.
func (p *EventPublisher) buildArgs(events []bus.Event, items []int) []any {
	prefixes := &p.prefixes[p.partitionOf(&events[items[0]])]
	keys := 1
	args := make([]any, argFirstKey, argFirstKey+1+4+len(items)*(2+2+18))
	texts := streamentry.NewTexts(3*len(items), 0)

	args = append(args, &prefixes.stream)
	if !p.cfg.AllowDuplicates {
		for _, i := range items {
			e := &events[i]
			args = append(args, texts.AddText(prefixes.dedup+"id:"+e.ID))
			keys++
			if e.Key != "" {
				args = append(args, texts.AddText(prefixes.dedup+"key:"+e.Key))
				keys++
			}
		}
	}

	args[argCommand] = "evalsha"
	args[argScript] = p.script.hash
	args[argNumKeys] = keys

	callNumber := 1_000_000_000 + rand.Int64N(9_000_000_000)
	args = append(args, p.cfg.MaxLen, p.ttlSeconds, callNumber, len(items))
	for _, i := range items {
		args = p.appendEvent(args, &events[i], texts)
	}

	return args
}

func (p *EventPublisher) appendEvent(args []any, e *bus.Event, texts *streamentry.Texts) []any {
	dedupKeys := 1
	switch {
	case p.cfg.AllowDuplicates:
		dedupKeys = 0
	case e.Key != "":
		dedupKeys = 2
	}

	args = append(args, dedupKeys, nil)
	fields := len(args) // the number of fields and values is at fields-1
	args = streamentry.AppendEventFields(args, e, texts)
	args[fields-1] = len(args) - fields

	return args
}

func (p *EventPublisher) countStatuses(events []bus.Event, statuses []bus.Status) {
	published := map[string]int{}
	duplicate := map[string]int{}
	for i, status := range statuses {
		switch status {
		case bus.Published:
			published[p.metrics.TypeLabel(events[i].Type)]++
		case bus.Duplicate:
			duplicate[p.metrics.TypeLabel(events[i].Type)]++
		case bus.Unknown, bus.Gap, bus.PartlyPublished, bus.Unwritable, bus.Forked:
		}
	}

	metrics.AddTypes(p.metrics.Published, published)
	metrics.AddTypes(p.metrics.Duplicate, duplicate)
}
