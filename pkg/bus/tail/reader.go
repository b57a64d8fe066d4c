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
)

// The pause between two reads grows from zero at quietRate to Config.Pause at busyRate. Both are in
// entries per second.
const (
	quietRate = 1500
	busyRate  = 10_000
)

// rateWindow is the time over which the rate is averaged.
const rateWindow = 100 * time.Millisecond

// stallTimeout is how much longer than Config.Block a read may take. After a longer read, this
// process or Redis was stalled, and entries may have been trimmed meanwhile.
const stallTimeout = 500 * time.Millisecond

// reader reads some of the partitions, with one call at a time.
type reader struct {
	t         *Tail
	deliver   func(Batch)
	positions []position
	byKey     map[string]int // index in positions, by stream key
	sink      resp.Sink
	decoder   streamentry.Decoder
	readArgs  []any // arguments of XREAD; the last len(positions) are the ids

	serverID    string    // run id of the server at the last check
	lastGood    time.Time // when Redis last answered a read
	lastRead    time.Time // end of the last read
	rate        float64   // entries per second, averaged over rateWindow
	lastCheck   time.Time // when checkStreams last succeeded
	checkNow    bool      // there was an error or entries may have been missed since the last check
	interrupted bool      // a read failed, and the entries that were added since are not all delivered
	caughtUp    bool
}

// position is the position of one stream.
type position struct {
	partition int
	stream    string
	id        streamentry.ID // the last delivered entry
	refilled  bool

	next  streamentry.ID // the last entry of the current read
	found int            // entries of the current read
}

func newReader(t *Tail, partitions []int, deliver func(Batch)) *reader {
	r := &reader{
		t:        t,
		deliver:  deliver,
		byKey:    map[string]int{},
		lastGood: time.Now(),
	}

	r.readArgs = []any{"xread", "count", t.cfg.Count, "block", t.cfg.Block.Milliseconds(), "streams"}
	for i, partition := range partitions {
		stream := t.cfg.Keys.Stream(partition)
		r.positions = append(r.positions, position{partition: partition, stream: stream})
		r.byKey[stream] = i
		r.readArgs = append(r.readArgs, stream)
	}

	for range partitions {
		r.readArgs = append(r.readArgs, "0-0")
	}

	return r
}

// run reads until ctx ends, and retries after errors.
func (r *reader) run(ctx context.Context) error {
	retry := backoff.ExponentialBackOff{
		InitialInterval:     20 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         time.Second,
	}

	for ctx.Err() == nil {
		err := r.runStep(ctx)
		if err == nil {
			retry.Reset()
			continue
		}

		if ctx.Err() == nil {
			r.handleError(err)
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}

	return nil
}

func (r *reader) handleError(err error) {
	r.checkNow = true
	r.interrupted = true
	for i := range r.positions {
		r.t.setFailing(r.positions[i].partition)
	}

	r.t.metrics.errors.Inc()
	r.t.logLimit.Do(func() {
		r.t.cfg.Logger.Warn("reading streams failed; retrying", "error", err)
	})
}

// runStep checks the streams if a check is due, refills the streams that are not refilled, and
// reads once.
func (r *reader) runStep(ctx context.Context) error {
	if r.checkNow || time.Since(r.lastCheck) >= r.t.cfg.Check {
		err := r.checkStreams(ctx)
		if err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}

	for i := range r.positions {
		p := &r.positions[i]
		if p.refilled {
			continue
		}

		err := r.refillStream(ctx, p)
		if err != nil {
			return fmt.Errorf("refill partition %d: %w", p.partition, err)
		}
	}

	if !r.caughtUp {
		r.caughtUp = true
		r.t.readerCaughtUp()
	}

	found, err := r.readEntries(ctx)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}

	pause := r.nextPause(found, time.Now())
	if pause > 0 {
		wait.Sleep(ctx, pause)
	}

	return nil
}

// nextPause returns the time to wait before the next read. At a high rate entries gather meanwhile,
// since a read of one entry costs nearly as much as a read of forty. At a low rate it is zero.
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

// refillStream delivers the newest entries of a stream, oldest first, and sets the position to the
// last one.
func (r *reader) refillStream(ctx context.Context, p *position) error {
	count := max(r.t.cfg.Refill, 1) // the position needs one entry
	r.decoder.Reset()
	raw, err := r.sendRaw(ctx, "xrevrange", p.stream, "+", "-", "count", count)
	if err != nil {
		return err
	}

	cursor := resp.Cursor{Rest: raw}
	found, newest, _ := r.decoder.DecodeReply(&cursor)
	err = cursor.Err
	if resp.IsRedirection(err) {
		found, newest, err = r.refillRedirected(ctx, p, count)
	}

	if err != nil {
		return err
	}

	p.id = newest
	p.refilled = true
	if r.t.cfg.Refill > 0 {
		slices.Reverse(r.decoder.Deliveries)
		r.deliverBatch(found, true)
	}

	if !r.interrupted {
		r.t.setReading(p.partition, true)
	}

	return nil
}

// readEntries waits for entries of the reader's streams and delivers them in one batch. It returns
// the number of entries.
func (r *reader) readEntries(ctx context.Context) (int, error) {
	ids := r.readArgs[len(r.readArgs)-len(r.positions):]
	for i := range r.positions {
		p := &r.positions[i]
		ids[i] = p.id.String()
		p.next = p.id
		p.found = 0
	}

	r.decoder.Reset()
	raw, err := r.sendRaw(ctx, r.readArgs...)
	if err != nil {
		return 0, err
	}

	err = r.parseReply(raw)
	if resp.IsRedirection(err) {
		err = r.readRedirected(ctx, ids)
	}

	if err != nil {
		return 0, err
	}

	stalled := time.Since(r.lastGood) > r.t.cfg.Block+stallTimeout
	r.detectTrimming(ctx, stalled)
	r.lastGood = time.Now()
	r.t.metrics.reads.Inc()
	found, mayHaveMore := r.advancePositions()
	r.deliverBatch(found, false)
	if !mayHaveMore {
		r.endReached()
	}

	return found, nil
}

// advancePositions moves the positions to the end of the current read. It returns the number of
// entries, and whether a stream may have more entries now.
func (r *reader) advancePositions() (found int, mayHaveMore bool) {
	now := r.lastGood.UnixMilli()
	for i := range r.positions {
		p := &r.positions[i]
		lag := 0.0
		if p.found > 0 {
			lag = max(0, float64(now-int64(p.next.Millis))/1000) //nolint:gosec // milliseconds since 1970
		}

		r.t.metrics.lag[p.partition].Set(lag)
		p.id = p.next
		found += p.found
		if p.found >= r.t.cfg.Count {
			mayHaveMore = true
		}
	}

	return found, mayHaveMore
}

// endReached records that the reader has delivered all entries of its streams.
func (r *reader) endReached() {
	if r.interrupted {
		r.interrupted = false
		for i := range r.positions {
			r.t.setReading(r.positions[i].partition, true)
		}
	}
}

// parseReply parses the reply of XREAD. For each stream with new entries it has the stream's key
// and the entries.
func (r *reader) parseReply(raw []byte) error {
	cursor := resp.Cursor{Rest: raw}
	streams, isMap := cursor.ReadArray()
	for range streams {
		if !isMap {
			cursor.ReadArray() // a pair of key and entries
		}

		i, ok := r.byKey[string(cursor.ReadBulk())]
		if cursor.Err == nil && !ok {
			return fmt.Errorf("%w: unexpected stream", resp.ErrProtocol)
		}

		n, _, last := r.decoder.DecodeReply(&cursor)
		if cursor.Err != nil {
			return cursor.Err
		}

		if n > 0 {
			r.positions[i].found = n
			r.positions[i].next = last
		}
	}

	return cursor.Err
}

// sendRaw returns the reply as Redis sent it, including an error reply. go-redis does not repeat
// the command, since the reader must notice a lost connection.
func (r *reader) sendRaw(ctx context.Context, args ...any) ([]byte, error) {
	r.sink.Reset()
	cmd := redis.NewRawWriteToCmd(ctx, &r.sink, args...)
	err := r.t.rdb.Process(ctx, cmd)
	if err != nil {
		return nil, err
	}

	if r.t.cfg.Reuse {
		return r.sink.Bytes, nil
	}

	return r.sink.CopyReply(), nil
}

// deliverBatch delivers the decoded entries of a read. found includes entries that are not
// delivered.
func (r *reader) deliverBatch(found int, refill bool) {
	r.t.metrics.entries.Add(float64(found))
	malformed := r.decoder.Malformed
	if malformed > 0 {
		r.t.metrics.malformed.Add(float64(malformed))
		r.t.logLimit.Do(func() {
			r.t.cfg.Logger.Error("stream entries that are not valid deliveries were skipped; another program writes to the streams",
				"count", malformed)
		})
	}

	if len(r.decoder.Deliveries) == 0 {
		return
	}

	r.t.mu.Lock()
	defer r.t.mu.Unlock()

	r.deliver(Batch{Deliveries: r.decoder.Deliveries, Refill: refill})
}
