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
)

// A Seam says which live events a backfill has copied: all entries up to an id in each partition,
// and those of some accounts up to a seq after that id.
//
// If the ledger went back since the copying began, the account's first marker, bus.TypeHistoryChanged,
// and all its live events after that are not covered: the copies may have void events, and a handler
// that gets the marker drops the events after its seq and needs the following ones again.
type Seam struct {
	rdb        redis.UniversalClient
	keys       bus.Keys
	partitions []partitionSeam
	newest     map[string]newestEvent
}

// partitionSeam is the seam of one partition.
type partitionSeam struct {
	isStored bool
	id       streamentry.ID
	added    int64                     // entries that were added up to the id; 0: unknown
	relayed  int64                     // transactions before this time, in ms, were published up to the id; 0: unknown
	start    streamentry.ID            // the last entry when the copying began
	rewound  map[string]streamentry.ID // the first marker of each account after start
}

// newestEvent is the newest event of an account that was copied. The time and the chain tell it apart
// from events that have the same seq after the ledger went back.
type newestEvent struct {
	seq   int64
	ms    int64
	chain bus.Chain
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

	return strconv.FormatInt(e.Seq, 10) + " " + strconv.FormatInt(ms, 10) + " " + e.Chain.String()
}

func parseNewest(text string) (newestEvent, error) {
	var e newestEvent
	var chain string
	_, err := fmt.Sscan(text, &e.seq, &e.ms, &chain)
	if err != nil {
		return newestEvent{}, err
	}

	e.chain, err = bus.ParseChain(chain)
	return e, err
}

// ReadSeam returns the seam of a backfill that is done.
func (c *Copier) ReadSeam(ctx context.Context) (*Seam, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	stored := make([]*redis.SliceCmd, c.cfg.Keys.Partitions)
	newest := make([]*redis.MapStringStringCmd, c.cfg.Keys.Partitions)
	rewound := make([]*redis.MapStringStringCmd, c.cfg.Keys.Partitions)
	for p := range stored {
		name := c.cfg.Name
		stored[p] = pipe.HMGet(ctx, c.hashKey(p), "seam:"+name, "added:"+name, "relayed:"+name, c.startField())
		newest[p] = pipe.HGetAll(ctx, c.newestKey(p))
		rewound[p] = pipe.HGetAll(ctx, c.cfg.Keys.Rewound(p))
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the seam: %w", err)
	}

	seam := &Seam{
		rdb:        c.rdb,
		keys:       c.cfg.Keys,
		partitions: make([]partitionSeam, len(stored)),
		newest:     map[string]newestEvent{},
	}
	for p := range stored {
		part := &seam.partitions[p]
		part.parse(stored[p].Val())
		for account, ids := range rewound[p].Val() {
			marker, found := part.findMarker(ids)
			if found {
				part.rewound[account] = marker
			}
		}

		for account, text := range newest[p].Val() {
			e, err := parseNewest(text)
			if err != nil {
				return nil, fmt.Errorf("read the seam: the newest event of %s: %w", account, err)
			}

			seam.newest[account] = e
		}
	}

	return seam, nil
}

// parse reads the fields seam, added, relayed and start. An absent field is nil.
func (s *partitionSeam) parse(values []any) {
	texts := make([]string, len(values))
	for i := range values {
		texts[i], _ = values[i].(string)
	}

	s.id, s.isStored = streamentry.ParseID([]byte(texts[0]))
	s.added = max(0, streamentry.ParseNumber([]byte(texts[1])))
	s.relayed = max(0, streamentry.ParseNumber([]byte(texts[2])))
	s.start, _ = streamentry.ParseID([]byte(texts[3]))
	s.rewound = map[string]streamentry.ID{}
}

// findMarker returns the first one of an account's markers that was added after the copying began.
func (s *partitionSeam) findMarker(ids string) (marker streamentry.ID, found bool) {
	for text := range strings.FieldsSeq(ids) {
		id, ok := streamentry.ParseID([]byte(text))
		if ok && s.start.Less(id) {
			return id, true
		}
	}

	return streamentry.ID{}, false
}

// IsStored reports whether Redis has the seam of a partition. A master of a cluster that lost its data
// lacks those of its partitions.
func (s *Seam) IsStored(partition int) bool { return s.partitions[partition].isStored }

// ID returns the id of the last entry of a partition that the backfill has copied.
func (s *Seam) ID(partition int) streamentry.ID { return s.partitions[partition].id }

// Added returns how many entries had been added to a partition's stream up to ID, or 0 if that is
// unknown.
func (s *Seam) Added(partition int) int64 { return s.partitions[partition].added }

// Relayed returns a time, in ms since 1970, before which all transactions were published up to ID, or
// 0 if that is unknown.
func (s *Seam) Relayed(partition int) int64 { return s.partitions[partition].relayed }

// Covers reports whether the backfill has copied an event of the ledger that is in an entry. Events
// of other producers are never covered. It reads from Redis only for some of the events that were
// published shortly after the seam.
func (s *Seam) Covers(ctx context.Context, id streamentry.ID, partition int, e *bus.Event) (bool, error) {
	part := &s.partitions[partition]
	isMarker := e.Type == bus.TypeHistoryChanged
	isOfLedger := isMarker || e.Seq > 0
	marker, isRewound := part.rewound[e.Account]
	switch {
	case !isOfLedger:
		return false, nil
	case isRewound && !id.Less(marker):
		return false, nil
	case !part.id.Less(id):
		return true, nil
	}

	newest, found := s.newest[e.Account]
	if isMarker || !found || !newest.includes(e) {
		return false, nil
	}

	marker, isRewound, err := s.readMarker(ctx, partition, e.Account)
	return !isRewound || id.Less(marker), err
}

// includes reports whether an event is the newest one, or an earlier one of the same history.
func (n *newestEvent) includes(e *bus.Event) bool {
	if e.Seq == n.seq {
		return e.Chain == n.chain
	}

	ms, ok := keyMillis(e.Key)
	return ok && e.Seq < n.seq && ms <= n.ms
}

// readMarker returns the first marker of an account after the copying began, if there is one now.
func (s *Seam) readMarker(ctx context.Context, partition int, account string) (marker streamentry.ID, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	ids, err := s.rdb.HGet(ctx, s.keys.Rewound(partition), account).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return streamentry.ID{}, false, nil
	case err != nil:
		return streamentry.ID{}, false, fmt.Errorf("read whether the ledger went back: %w", err)
	}

	marker, found = s.partitions[partition].findMarker(ids)
	return marker, found, nil
}
