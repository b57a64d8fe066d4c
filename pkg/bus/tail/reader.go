package tail

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// The rates of entries, per second, between which the pause grows from none to Config.Pause.
const (
	quietRate = 1500
	busyRate  = 10_000
)

// rateWindow is the time over which the rate is averaged.
const rateWindow = 100 * time.Millisecond

// stall is how much longer than it may block a read takes before it counts as late: this process, or Redis, stood still.
const stall = 500 * time.Millisecond

// reader reads some of the partitions with one call at a time.
type reader struct {
	t       *Tail
	deliver func(Batch)
	parts   []position
	byName  map[string]int // stream key -> place in parts
	sink    resp.Sink
	entries streamentry.Decoder
	args    []any // of XREAD; the last len(parts) are the ids

	identity string    // of the server that was checked last
	lastGood time.Time // when Redis answered last
	lastRead time.Time // when the newest read ended
	rate     float64   // entries per second, averaged over rateWindow
	checked  time.Time // when identity and ends were compared last
	broken   bool      // since then there was an error, or entries may have been missed
	stopped  bool      // a read has failed, and not all that came since was delivered
	caughtUp bool
}

// position is how far one stream was read.
type position struct {
	partition int
	stream    string
	id        streamentry.ID // everything up to it was delivered
	refilled  bool

	next  streamentry.ID // position after the read under way
	found int            // entries of the read under way
}

func newReader(t *Tail, partitions []int, deliver func(Batch)) *reader {
	r := &reader{t: t, deliver: deliver, byName: map[string]int{}, lastGood: time.Now()}
	r.args = []any{"xread", "count", t.cfg.Count, "block", t.cfg.Block.Milliseconds(), "streams"}
	for i, partition := range partitions {
		stream := t.cfg.Keys.Stream(partition)
		r.parts = append(r.parts, position{partition: partition, stream: stream})
		r.byName[stream] = i
		r.args = append(r.args, stream)
	}
	for range partitions {
		r.args = append(r.args, "0-0")
	}
	return r
}

// run is one attempt after the other, until ctx ends.
func (r *reader) run(ctx context.Context) error {
	retry := backoff.ExponentialBackOff{
		InitialInterval: 20 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 2 * time.Second,
	}
	for ctx.Err() == nil {
		if err := r.step(ctx); err == nil {
			retry.Reset()
		} else if ctx.Err() == nil {
			r.broken, r.stopped = true, true
			for i := range r.parts {
				r.t.reads(r.parts[i].partition, false)
			}
			r.t.metrics.errors.Inc()
			r.t.complain.Do(func() { r.t.cfg.Logger.Warn("reading streams fails, trying again", "error", err) })
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}
	return nil
}

// step checks when that is due, refills what is not refilled yet, and reads once.
func (r *reader) step(ctx context.Context) error {
	if r.broken || time.Since(r.checked) >= r.t.cfg.Check {
		if err := r.check(ctx); err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}
	for i := range r.parts {
		if !r.parts[i].refilled {
			if err := r.refill(ctx, &r.parts[i]); err != nil {
				return fmt.Errorf("refill partition %d: %w", r.parts[i].partition, err)
			}
		}
	}
	found, err := r.read(ctx)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if pause := r.nextPause(found, time.Now()); pause > 0 {
		wait.Sleep(ctx, pause)
	}
	return nil
}

// nextPause returns how long to wait before the next read, so that entries gather when many come: a
// read costs much the same for one entry and for forty. When few come it is zero.
func (r *reader) nextPause(found int, now time.Time) time.Duration {
	elapsed := max(now.Sub(r.lastRead), time.Microsecond)
	r.lastRead = now
	rate := float64(found) / elapsed.Seconds()
	weight := min(1, elapsed.Seconds()/rateWindow.Seconds())
	r.rate += weight * (rate - r.rate)
	if found == 0 {
		return 0
	}
	load := (r.rate - quietRate) / (busyRate - quietRate)
	return time.Duration(min(max(load, 0), 1) * float64(r.t.cfg.Pause))
}

// check looks whether the server is still the one that the positions are of. A
// stream that is gone is read from its start. A stream that ends before our
// position, and all streams of a server with another run id, may have lost
// entries that the relay has put or will put in again, with ids that may be
// below our position: reading starts again some minutes back.
func (r *reader) check(ctx context.Context) error {
	server, err := redisconn.ClientFor(ctx, r.t.rdb, r.parts[0].stream)
	if err != nil {
		return err
	}
	pipe := server.Pipeline()
	info := pipe.Info(ctx, "server")
	ends := make([]*redis.XMessageSliceCmd, len(r.parts))
	for i := range r.parts {
		ends[i] = pipe.XRevRangeN(ctx, r.parts[i].stream, "+", "-", 1)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	identity, err := redisconn.ParseRunID(info)
	if err != nil {
		return err
	}
	for _, end := range ends {
		if err := end.Err(); err != nil {
			return err
		}
	}
	changed := identity != "" && r.identity != "" && identity != r.identity
	back := uint64((r.t.cfg.Rewind + time.Since(r.lastGood)).Milliseconds()) //nolint:gosec // positive
	lost := r.broken
	for i := range r.parts {
		end, err := redisconn.FirstID(ends[i].Val())
		if err != nil {
			return err
		}
		lost = r.compare(&r.parts[i], end, changed, back) || lost
	}
	if identity != "" {
		r.identity = identity
	}
	r.checked, r.broken = time.Now(), false
	if lost && r.t.cfg.Lost != nil {
		r.t.cfg.Lost()
	}
	return nil
}

// compare moves a position back that cannot be trusted, and tells whether it did.
func (r *reader) compare(p *position, end streamentry.ID, changed bool, back uint64) bool {
	var why string
	from := p.id
	switch {
	case p.id == streamentry.ID{}:
		return false
	case end == streamentry.ID{}:
		why, p.id = "vanished", streamentry.ID{}
	case end.Less(p.id):
		why, p.id = "went_back", end.Back(back)
	case changed:
		why, p.id = "server_changed", p.id.Back(back)
	default:
		return false
	}
	r.t.metrics.resets.WithLabelValues(why).Inc()
	r.t.cfg.Logger.Warn("stream is read again from further back", "partition", p.partition, "why", why,
		"position", from.String(), "end", end.String(), "now_from", p.id.String())
	return true
}

// refill delivers the newest entries of a stream, oldest first, and sets the
// position after them.
func (r *reader) refill(ctx context.Context, p *position) error {
	count := max(r.t.cfg.Refill, 1) // one entry tells at least the position
	r.entries.Reset()
	raw, err := r.raw(ctx, "xrevrange", p.stream, "+", "-", "count", count)
	if err != nil {
		return err
	}
	cursor := resp.Cursor{Rest: raw}
	n, newest, _ := r.entries.DecodeReply(&cursor)
	if err = cursor.Err; resp.IsRedirection(err) {
		n, newest, err = r.refillRedirected(ctx, p, count)
	}
	if err != nil {
		return err
	}
	p.id, p.refilled = newest, true
	if r.t.cfg.Refill > 0 {
		slices.Reverse(r.entries.Deliveries)
		r.hand(n, true)
	}
	if !r.stopped {
		r.t.reads(p.partition, true)
	}
	return nil
}

// read waits for entries of all our streams and delivers them in one batch.
func (r *reader) read(ctx context.Context) (found int, err error) {
	ids := r.args[len(r.args)-len(r.parts):]
	for i := range r.parts {
		p := &r.parts[i]
		ids[i] = p.id.String()
		p.next, p.found = p.id, 0
	}
	r.entries.Reset()
	raw, err := r.raw(ctx, r.args...)
	if err != nil {
		return 0, err
	}
	if err = r.parse(raw); resp.IsRedirection(err) {
		err = r.readRedirected(ctx, ids)
	}
	if err != nil {
		return 0, err
	}
	r.checkTrimmed(ctx, time.Since(r.lastGood) > r.t.cfg.Block+stall)
	r.lastGood = time.Now()
	full := false
	for i := range r.parts {
		p := &r.parts[i]
		lag := 0.0
		if p.found > 0 {
			lag = max(0, float64(r.lastGood.UnixMilli()-int64(p.next.Millis))/1000) //nolint:gosec // a clock's milliseconds
		}
		r.t.metrics.lag[p.partition].Set(lag)
		p.id = p.next
		found += p.found
		full = full || p.found >= r.t.cfg.Count
	}
	r.t.metrics.reads.Inc()
	r.hand(found, false)
	if !full && r.stopped {
		r.stopped = false
		for i := range r.parts {
			r.t.reads(r.parts[i].partition, true)
		}
	}
	if !full && !r.caughtUp {
		r.caughtUp = true
		r.t.oneCaughtUp()
	}
	return found, nil
}

// checkTrimmed looks, after a read that may have come late, whether entries were trimmed before it: then a stream's
// oldest entry is newer than the position that was read from, since Redis trims the oldest first. An account
// without further events would not show that hole.
func (r *reader) checkTrimmed(ctx context.Context, stalled bool) {
	var late []*position
	for i := range r.parts {
		if p := &r.parts[i]; (stalled || p.found >= r.t.cfg.Count) && p.id != (streamentry.ID{}) {
			late = append(late, p)
		}
	}
	if len(late) == 0 {
		return
	}
	pipe := r.t.rdb.Pipeline()
	starts := make([]*redis.XMessageSliceCmd, len(late))
	for i, p := range late {
		starts[i] = pipe.XRangeN(ctx, p.stream, "-", "+", 1)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, p := range late {
		first, err := redisconn.FirstID(starts[i].Val())
		if starts[i].Err() != nil || err != nil {
			r.broken = true // what cannot be told counts as lost
			continue
		}
		if p.id.Less(first) {
			r.broken = true
			r.t.metrics.trimmed.Inc()
			r.t.cfg.Logger.Warn("entries may have been trimmed before they were read; what they were about is looked up",
				"partition", p.partition, "position", p.id.String(), "oldest", first.String())
		}
	}
}

// parse reads XREAD's reply: for each stream that had something its key and its entries.
func (r *reader) parse(raw []byte) error {
	cursor := resp.Cursor{Rest: raw}
	streams, isMap := cursor.Array()
	for range streams {
		if !isMap {
			cursor.Array() // of key and entries
		}
		i, ok := r.byName[string(cursor.Bulk())]
		if cursor.Err == nil && !ok {
			return fmt.Errorf("%w: a stream that was not asked for", resp.ErrProtocol)
		}
		n, _, last := r.entries.DecodeReply(&cursor)
		if cursor.Err != nil {
			return cursor.Err
		}
		if n > 0 {
			r.parts[i].found, r.parts[i].next = n, last
		}
	}
	return cursor.Err
}

// raw returns the reply as Redis sent it, also when it is an error. The command
// is not repeated by go-redis: a lost connection must be noticed here.
func (r *reader) raw(ctx context.Context, args ...any) ([]byte, error) {
	r.sink.Reset()
	cmd := redis.NewRawWriteToCmd(ctx, &r.sink, args...)
	if err := r.t.rdb.Process(ctx, cmd); err != nil {
		return nil, err
	}
	if r.t.cfg.Reuse {
		return r.sink.Bytes, nil
	}
	return r.sink.Take(), nil
}

// hand delivers what was read; n is how many entries that were.
func (r *reader) hand(n int, refill bool) {
	r.t.metrics.entries.Add(float64(n))
	if bad := r.entries.Malformed; bad > 0 {
		r.t.metrics.malformed.Add(float64(bad))
		r.t.complain.Do(func() {
			r.t.cfg.Logger.Error("stream entries that are no deliveries were skipped; somebody else writes to the streams", "count", bad)
		})
	}
	if len(r.entries.Deliveries) == 0 {
		return
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.deliver(Batch{Deliveries: r.entries.Deliveries, Refill: refill})
}
