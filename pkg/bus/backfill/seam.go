package backfill

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// A Seam says which live events a backfill has copied: all entries up to an id in each partition,
// and those of some accounts up to a seq after that id.
type Seam struct {
	keys   bus.Keys
	ids    []streamentry.ID // of the partitions
	added  []int64          // for each partition, the entries that were added up to the id; 0: unknown
	newest map[string]newestEvent
}

// newestEvent is the newest event of an account that was copied. The time tells it apart from events
// that have the same seq after the ledger went back.
type newestEvent struct {
	seq int64
	ms  int64
}

// clockSkew is more than the difference between the clocks of two cores.
const clockSkew = time.Minute

// keyMillis returns the time of a transaction from the deduplication key of its events.
func keyMillis(key string) (int64, bool) {
	id, _, _ := strings.Cut(key, ":")
	parsed, err := uuid.Parse(id)
	if err != nil {
		return 0, false
	}

	var ms int64
	for _, b := range parsed[:6] {
		ms = ms<<8 | int64(b)
	}

	return ms, true
}

func (c *Copier) newestKey(partition int) string { return c.hashKey(partition) + ":" + c.cfg.Name }

// newestText returns what the hash of the newest events has of an event. It is empty if the event was
// published before the seam for certain.
func (c *Copier) newestText(partition int, e *bus.HistoryEvent) string {
	ms, ok := keyMillis(e.Key)
	if !ok || ms < c.relayed[partition]-clockSkew.Milliseconds() {
		return ""
	}

	return strconv.FormatInt(e.Seq, 10) + " " + strconv.FormatInt(ms, 10)
}

// markSeam returns the last id of each partition's stream, and notes up to which time all transactions
// were published before. The entry with the last id may be trimmed.
func (c *Copier) markSeam(ctx context.Context) ([]streamentry.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	relayed := make([]*redis.StringCmd, c.cfg.Keys.Partitions)
	newest := make([]*redis.XMessageSliceCmd, c.cfg.Keys.Partitions)
	streams := make([]*redis.XInfoStreamCmd, c.cfg.Keys.Partitions)
	for p := range relayed {
		relayed[p] = pipe.Get(ctx, c.cfg.Keys.Relayed(p))
		streams[p] = pipe.XInfoStream(ctx, c.cfg.Keys.Stream(p))
		newest[p] = pipe.XRevRangeN(ctx, c.cfg.Keys.Stream(p), "+", "-", 1)
	}

	_, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read the ends of the streams: %w", err)
	}

	ids := make([]streamentry.ID, len(newest))
	for p := range ids {
		ids[p], err = redisconn.FirstID(newest[p].Val())
		if err != nil {
			return nil, err
		}

		c.added[p] = streams[p].Val().EntriesAdded
		c.hadEntries[p] = ids[p] != streamentry.ID{}
		if !c.hadEntries[p] {
			ids[p], _ = streamentry.ParseID([]byte(streams[p].Val().LastGeneratedID))
		}

		ms, err := relayed[p].Int64()
		if err == nil {
			c.relayed[p] = ms
		}
	}

	return ids, nil
}

// isTrimmedAfter reports whether a stream may have lost entries after the seam.
func (c *Copier) isTrimmedAfter(ctx context.Context, seam []streamentry.ID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	oldest := make([]*redis.XMessageSliceCmd, len(seam))
	for p := range oldest {
		oldest[p] = pipe.XRangeN(ctx, c.cfg.Keys.Stream(p), "-", "+", 1)
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("read the starts of the streams: %w", err)
	}

	for p := range seam {
		id, err := redisconn.FirstID(oldest[p].Val())
		if err != nil {
			return false, err
		}

		if c.hadEntries[p] && seam[p].Less(id) {
			return true, nil
		}
	}

	return false, nil
}

func (c *Copier) seamField() string { return "seam:" + c.cfg.Name }

// addedField has the number of entries that were added to a stream up to the seam.
func (c *Copier) addedField() string { return "added:" + c.cfg.Name }

func (c *Copier) storeSeam(ctx context.Context, seam []streamentry.ID) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	for p, id := range seam {
		pipe.HSet(ctx, c.hashKey(p), c.seamField(), id.String(), c.addedField(), c.added[p])
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the seam: %w", err)
	}

	return nil
}

// ReadSeam returns the seam of a backfill that is done.
func (c *Copier) ReadSeam(ctx context.Context) (*Seam, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	ids := make([]*redis.StringCmd, c.cfg.Keys.Partitions)
	added := make([]*redis.StringCmd, c.cfg.Keys.Partitions)
	newest := make([]*redis.MapStringStringCmd, c.cfg.Keys.Partitions)
	for p := range ids {
		ids[p] = pipe.HGet(ctx, c.hashKey(p), c.seamField())
		added[p] = pipe.HGet(ctx, c.hashKey(p), c.addedField())
		newest[p] = pipe.HGetAll(ctx, c.newestKey(p))
	}

	_, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read the seam: %w", err)
	}

	seam := &Seam{
		keys:   c.cfg.Keys,
		ids:    make([]streamentry.ID, len(ids)),
		added:  make([]int64, len(ids)),
		newest: map[string]newestEvent{},
	}
	for p := range ids {
		id, ok := streamentry.ParseID([]byte(ids[p].Val()))
		if ok {
			seam.ids[p] = id
		}

		seam.added[p], _ = added[p].Int64() // 0 if it is absent

		for account, text := range newest[p].Val() {
			var e newestEvent
			_, err := fmt.Sscan(text, &e.seq, &e.ms)
			if err == nil {
				seam.newest[account] = e
			}
		}
	}

	return seam, nil
}

// ID returns the id of the last entry of a partition that the backfill has copied.
func (s *Seam) ID(partition int) streamentry.ID { return s.ids[partition] }

// Added returns how many entries had been added to a partition's stream up to ID, or 0 if that is
// unknown.
func (s *Seam) Added(partition int) int64 { return s.added[partition] }

// Covers reports whether the backfill has copied an event of the ledger that is in an entry. Events
// of other producers are never covered.
func (s *Seam) Covers(id streamentry.ID, partition int, e *bus.Event) bool {
	isMarker := e.Type == bus.TypeHistoryChanged
	if e.Seq == 0 && !isMarker {
		return false
	}

	if !s.ids[partition].Less(id) {
		return true
	}

	newest, ok := s.newest[e.Account]
	if !ok || isMarker || e.Seq > newest.seq {
		return false
	}

	ms, ok := keyMillis(e.Key)
	return ok && ms <= newest.ms
}
