package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

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
const addSource = `
local A, K, stream = ARGV, KEYS, KEYS[1]
local ttl, me = A[2], A[3]
local call = redis.call
local res, k, i, added = {}, 2, 5, false
for e = 1, tonumber(A[4]) do
  local n, m = tonumber(A[i]), tonumber(A[i + 1])
  local status, mine = 1, me .. e
  if n == 1 then
    if not call('SET', K[k], mine, 'NX', 'EX', ttl) then status = 2 end
  elseif n == 2 then
    if call('EXISTS', K[k], K[k + 1]) > 0 then
      status = 2
    else
      call('SET', K[k], mine, 'EX', ttl)
      call('SET', K[k + 1], mine, 'EX', ttl)
    end
  end
  if status == 1 then
    added = true
    call('XADD', stream, '*', unpack(A, i + 2, i + 1 + m))
  elseif call('GET', K[k]) == mine then
    status = 1
  end
  res[e] = status
  k, i = k + n, i + 2 + m
end
if added then call('XTRIM', stream, 'MAXLEN', '~', A[1]) end
return res
`

// eventPublisher adds the events of other producers than the ledger.
type eventPublisher struct {
	rdb     redis.UniversalClient
	cfg     Config
	metrics *busMetrics
	sha     string
	names   []partitionNames
	ttl     int64 // seconds
}

const (
	maxEvents     = 256     // in one script call, so that Redis serves others in between
	maxEventBytes = 1 << 20 // of payload in one script call
)

func newEventPublisher(rdb redis.UniversalClient, cfg Config, m *busMetrics) *eventPublisher {
	return &eventPublisher{
		rdb: rdb, cfg: cfg, metrics: m, sha: redis.NewScript(addSource).Hash(), names: namesOf(cfg.Keys),
		ttl: max(1, int64(cfg.DedupTTL/time.Second)),
	}
}

// addCall is one EVALSHA: events of one partition, in the order given.
type addCall struct {
	events []int // their places among those that are published
	bytes  int
	args   []any
	cmd    *redis.IntSliceCmd
}

func (p *eventPublisher) publish(ctx context.Context, events []Event) ([]Status, error) {
	events, err := checkEvents(events)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	statuses := make([]Status, len(events))
	calls := p.split(events)
	p.exec(ctx, calls)
	var lost []*addCall
	for _, c := range calls {
		if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			c.args[argName], c.args[argScript] = "eval", addSource
			lost = append(lost, c)
		}
	}
	if len(lost) > 0 {
		p.exec(ctx, lost)
	}
	for _, c := range calls {
		answers, failed := c.cmd.Result()
		if failed == nil && len(answers) != len(c.events) {
			failed = fmt.Errorf("the script answered %d numbers for %d events", len(answers), len(c.events))
		}
		if failed != nil {
			err = fmt.Errorf("publish: %w", failed)
			continue
		}
		for k, i := range c.events {
			statuses[i] = Status(answers[k]) //nolint:gosec // 1 or 2
		}
	}
	p.count(events, statuses)
	return statuses, err
}

func (p *eventPublisher) exec(ctx context.Context, calls []*addCall) {
	pipe := p.rdb.Pipeline()
	for _, c := range calls {
		c.cmd = redis.NewIntSliceCmd(ctx, c.args...)
		_ = pipe.Process(ctx, c.cmd)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}

// split makes the script calls.
func (p *eventPublisher) split(events []Event) []*addCall {
	var calls []*addCall
	open := make([]*addCall, p.cfg.Keys.Partitions)
	for i := range events {
		e := &events[i]
		partition := p.partition(e)
		c := open[partition]
		size := len(e.Data) + 200 // ids, names
		if c == nil || len(c.events) >= maxEvents || c.bytes+size > maxEventBytes {
			c = &addCall{}
			open[partition], calls = c, append(calls, c)
		}
		c.events, c.bytes = append(c.events, i), c.bytes+size
	}
	for _, c := range calls {
		c.args = p.callArgs(events, c.events)
	}
	return calls
}

// partition is that of the account. Events without one share their type's, so that
// duplicates meet.
func (p *eventPublisher) partition(e *Event) int {
	if e.Account != "" {
		return p.cfg.Keys.Partition(e.Account)
	}
	return p.cfg.Keys.Partition(e.Type)
}

// callArgs builds the arguments of one EVALSHA; values go in as pointers, as in Publisher.callArgs.
func (p *eventPublisher) callArgs(events []Event, which []int) []any {
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
	args[argName], args[argScript], args[argNumKeys] = "evalsha", p.sha, keys
	args = append(args, p.cfg.MaxLen, p.ttl, 1_000_000_000+rand.Int64N(9_000_000_000), len(which))
	for _, i := range which {
		args = p.appendEvent(args, &events[i], text)
	}
	return args
}

func (p *eventPublisher) appendEvent(args []any, e *Event, text func(string) *string) []any {
	keys := 1
	switch {
	case p.cfg.AllowDuplicates:
		keys = 0
	case e.Key != "":
		keys = 2
	}
	args = append(args, keys, nil)
	length := len(args)
	args = append(args, "id", &e.ID, "type", &e.Type)
	if e.Account != "" {
		args = append(args, "account", &e.Account)
	}
	if e.Key != "" {
		args = append(args, "key", &e.Key)
	}
	if e.Amount != 0 {
		args = append(args, "amount", &e.Amount)
	}
	if e.Reason != "" {
		args = append(args, "reason", &e.Reason)
	}
	if e.Feature != "" {
		args = append(args, "feature", &e.Feature)
	}
	if e.TraceParent != "" {
		args = append(args, "traceparent", &e.TraceParent)
	}
	args = append(args, "data", text(streamentry.Text(e.Data)))
	args[length-1] = len(args) - length
	return args
}

func (p *eventPublisher) count(events []Event, statuses []Status) {
	published, duplicate := map[string]int{}, map[string]int{}
	for i, s := range statuses {
		switch s {
		case Published:
			published[p.metrics.labels.Of(events[i].Type)]++
		case Duplicate:
			duplicate[p.metrics.labels.Of(events[i].Type)]++
		case Unknown, Gap, Straddled, Unwritable:
		}
	}
	metrics.AddByType(p.metrics.published, published)
	metrics.AddByType(p.metrics.duplicate, duplicate)
}
