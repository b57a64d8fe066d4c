package relay

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

const (
	// commonPage is how many stream entries are read at once.
	commonPage = 500
	// maxCommonEntries and maxCommonTime bound one pass through a stream.
	maxCommonEntries = 100_000
	maxCommonTime    = 10 * time.Second
)

// findCommonPoints finds the common point of each fork of one partition: the account's newest entry
// in the stream whose chain the ledger has at that seq. It reads the stream backwards, once for all
// forks.
//
// If no entry of an account agrees, the common point is the event before the account's oldest entry
// that was found. If the stream has no entry of the account, the common point is the ledger's newest
// event. Readers that are behind such a common point find out by its chain.
func (s *sweeper) findCommonPoints(ctx context.Context, partition int, forks []*fork) error {
	open := make(map[string]*fork, len(forks))
	for _, f := range forks {
		f.limit = math.MaxInt64
		open[f.account] = f
	}

	deadline := time.Now().Add(maxCommonTime)
	end := "+"
	for read := 0; len(open) > 0 && read < maxCommonEntries && time.Now().Before(deadline); read += commonPage {
		page, err := s.readBackwards(ctx, partition, end)
		if err != nil {
			return s.recordFailedPartition(ctx, partition, err)
		}

		err = s.matchEntries(ctx, page, open)
		if err != nil {
			return err
		}

		if len(page) < commonPage {
			break
		}

		end = "(" + page[len(page)-1].ID
	}

	for _, f := range open {
		f.common = f.newest
		if f.oldest > 0 && f.oldest-1 < f.newest.Seq {
			f.common = bus.Position{Account: f.account, Seq: f.oldest - 1}
		}

		f.isFound = true
	}

	return nil
}

func (s *sweeper) readBackwards(ctx context.Context, partition int, end string) ([]redis.XMessage, error) {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	page, err := s.rdb.XRevRangeN(limited, s.keys.Stream(partition), end, "-", commonPage).Result()
	if err != nil {
		return nil, fmt.Errorf("read stream %d backwards: %w", partition, err)
	}

	return page, nil
}

// matchEntries compares the entries of one page, newest first, with the ledger. It removes the forks
// whose common point is found.
func (s *sweeper) matchEntries(ctx context.Context, page []redis.XMessage, open map[string]*fork) error {
	var positions []bus.Position
	var matches []entryMatch
	for i := range page {
		entry, ok := parseTip(&page[i])
		f := open[entry.Account]
		if !ok || f == nil {
			continue
		}

		key, _ := page[i].Values["key"].(string)
		isVoid := entry.Seq > f.limit
		matches = append(matches, entryMatch{fork: f, key: key, position: len(positions), isVoid: isVoid})
		if isVoid {
			continue
		}

		if entry.isMarker {
			f.limit = entry.Seq
		}

		isOlder := f.oldest == 0 || entry.Seq < f.oldest
		if isOlder && entry.Seq > 0 {
			f.oldest = entry.Seq
		}

		positions = append(positions, entry.Position)
	}

	same, err := s.findInLedger(ctx, positions)
	if err != nil {
		return err
	}

	for _, m := range matches {
		f := m.fork
		if f.isFound {
			continue
		}

		if m.isVoid {
			f.addPublished(m.key)
			continue
		}

		position := positions[m.position]
		agrees := same[m.position] || position.Seq == 0 // all histories begin alike
		if !agrees {
			f.addPublished(m.key)
			continue
		}

		f.common = position
		f.isFound = true
		delete(open, f.account)
	}

	return nil
}

// entryMatch is a stream entry of a fork whose common point is not found yet.
type entryMatch struct {
	fork     *fork
	key      string // deduplication key of the entry's update; empty: the entry is a marker
	position int    // index of the entry's position, unless it is void
	isVoid   bool   // a later marker says that the event never happened
}

// addPublished records the deduplication key of an update that follows the common point in the
// stream.
func (f *fork) addPublished(key string) {
	isRepeated := len(f.published) > 0 && f.published[len(f.published)-1] == key
	if key != "" && !isRepeated {
		f.published = append(f.published, key)
	}
}

// tip is the history that a stream entry belongs to.
type tip struct {
	bus.Position
	isMarker bool
}

// parseTip returns the history of an entry. ok is false for entries that do not come from a ledger.
func parseTip(m *redis.XMessage) (t tip, ok bool) {
	t.Account, _ = m.Values["account"].(string)
	eventType, _ := m.Values["type"].(string)
	seqText, _ := m.Values["seq"].(string)
	chainText, _ := m.Values["chain"].(string)
	t.isMarker = eventType == bus.TypeHistoryChanged

	seq, err := strconv.ParseInt(seqText, 10, 64)
	if err != nil || seq < 0 || t.Account == "" {
		return tip{}, false
	}

	chain, err := bus.ParseChain(chainText)
	if err != nil || (seq == 0 && !t.isMarker) {
		return tip{}, false
	}

	t.Seq = seq
	t.Chain = chain
	return t, true
}
