package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	quietPage = 1000 // transactions whose accounts are compared at once
	// maxCompared bounds the accounts that a comparison remembers, so that it compares each once.
	maxCompared = 1 << 20
	// maxAheadChecks bounds the accounts per comparison, and per pass, that are asked
	// about at the ledger because Redis has more of them: mostly they have just changed.
	maxAheadChecks = 20
)

// reconcile compares the accounts that changed since t with their hashes, and
// publishes what Redis has lost of accounts that nothing new would heal. An
// account whose hash is gone, and which has a long past, gets its newest group
// as a starting point, so that its snapshot is back; a gateway that had that
// event drops it, one that had not sees by its seq what it lacks.
//
// complete is false when something has to be looked at again.
func (s *sweeper) reconcile(ctx context.Context, t time.Time) (complete bool, err error) {
	complete, checks := true, 0
	compared, cursor := map[string]bool{}, ""
	for {
		page, next, err := s.src.ChangedSince(ctx, t, cursor, quietPage)
		if err != nil {
			return false, s.sourceFailed("list changed accounts", err)
		}
		page = slices.DeleteFunc(page, func(p bus.Position) bool { return compared[p.Account] })
		have, err := s.hashSeqs(ctx, page)
		if err != nil {
			return false, err
		}
		gone := map[string]int64{}
		for i, p := range page {
			switch {
			case have[i] == p.Seq || have[i] == broken:
			case have[i] > p.Seq:
				if checks++; checks <= maxAheadChecks {
					err = s.checkRollback(ctx, p.Account, have[i])
				}
			case have[i] >= 0:
				err = s.derive(ctx, p.Account, have[i], p.Seq)
			case p.Seq <= fewEvents:
				err = s.derive(ctx, p.Account, 0, p.Seq)
			default:
				gone[p.Account] = p.Seq
			}
			if err != nil {
				return false, err
			}
		}
		if len(gone) > 0 {
			if err := s.startQuietAccounts(ctx, gone); err != nil {
				return false, err
			}
			complete = complete && len(gone) == 0
		}
		if next == "" {
			return complete, nil
		}
		if len(compared) > maxCompared {
			clear(compared)
		}
		for _, p := range page {
			compared[p.Account] = true
		}
		cursor = next
	}
}

// What a hash's seq is when it has none, when its key is no hash, and when Redis does not answer.
const (
	absent = -1
	broken = -2
	silent = -3
)

// hashSeqs reads the seq of each account's hash.
func (s *sweeper) hashSeqs(ctx context.Context, accounts []bus.Position) ([]int64, error) {
	within, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(accounts))
	for i, p := range accounts {
		cmds[i] = pipe.HGet(within, s.keys.BalanceHash(p.Account), "seq")
	}
	_, _ = pipe.Exec(within) // each command has its own error
	seqs, unanswered := make([]int64, len(accounts)), map[int]bool{}
	var failed error
	for i, cmd := range cmds {
		text, err := cmd.Result()
		switch {
		case errors.Is(err, redis.Nil):
			seqs[i] = absent
		case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			seqs[i] = broken
		case err != nil:
			seqs[i], failed = silent, fmt.Errorf("read balance hashes: %w", err)
			unanswered[s.keys.Partition(accounts[i].Account)] = true
		default:
			seqs[i], err = strconv.ParseInt(text, 10, 64)
			if err != nil || seqs[i] < 0 {
				seqs[i] = absent // what the script takes it for
			}
		}
	}
	if failed != nil && ctx.Err() == nil {
		failed = s.markUnavailable(unanswered, slices.ContainsFunc(seqs, func(seq int64) bool { return seq != silent }), failed)
	}
	return seqs, failed
}

// startQuietAccounts publishes the newest group of accounts that Redis knows nothing of,
// and removes them from the map. An account with rows in the outbox is not
// quiet: its first row there is its starting point, and the sweep's business.
// Such accounts stay in the map.
func (s *sweeper) startQuietAccounts(ctx context.Context, gone map[string]int64) error {
	// All of the account's rows up to this seq were visible when it was read, so one
	// that this scan does not meet has been published.
	waiting := map[string]bool{}
	err := s.scan(ctx, math.MaxInt64, func(row *bus.OutboxRow) {
		for i := range row.Updates {
			if _, ok := gone[row.Updates[i].Account]; ok {
				waiting[row.Updates[i].Account] = true
			}
		}
	})
	if err != nil {
		return err
	}
	var pubs []publish.Publication
	for account, seq := range gone {
		if waiting[account] {
			continue
		}
		groups, err := s.src.UpdatesAfter(ctx, account, seq-1, 1)
		if err != nil {
			return s.sourceFailed("derive events", err)
		}
		if len(groups) == 1 {
			pubs = append(pubs, publish.Publication{Update: groups[0], AsStartingPoint: true})
		}
		delete(gone, account)
	}
	s.metrics.republished.Add(float64(len(pubs)))
	_, err = s.publish(ctx, pubs)
	return err
}
