package relay

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// After a fork was found, all balance hashes are compared with the ledger (SCAN). The key
// bus.Keys.Forked exists until that is done, so that another process or a restarted one goes on.
// The comparison runs in slices between the passes of the sweep, so that it does not delay other
// accounts.

const (
	// scanPage is about how many keys one SCAN goes through.
	scanPage = 1000
	// maxForks bounds the forks that are collected before they are repaired. One pass through a
	// stream then serves many accounts.
	maxForks = 100_000
	// comparisonSlice is how long the comparison runs in one pass of the sweep.
	comparisonSlice = 400 * time.Millisecond
)

// comparison is a comparison of all balance hashes with the ledger.
type comparison struct {
	isRequired bool
	value      string // of the key Forked, when the comparison started
	isStored   bool   // the key has the value, or another process has replaced it
	started    time.Time
	serverID   string        // of the servers that are scanned
	scans      []*masterScan // nil: the scan has not begun
	forks      []*fork       // found and not repaired yet
	compared   int           // hashes
	repaired   int           // accounts
}

// masterScan is the progress on one server.
type masterScan struct {
	client   redis.Cmdable
	address  string
	cursor   uint64
	finished bool
}

// restart makes the comparison begin again, if there is one.
func (c *comparison) restart() {
	c.scans = nil
	c.forks = nil
}

// deleteForkedScript deletes a key if it has a value. It returns the value that the key has now.
//
//go:embed delete_forked.lua
var deleteForkedSource string

var deleteForkedScript = redis.NewScript(deleteForkedSource)

// requireFullComparison stores in Redis that all accounts must be compared, and starts this. The
// value is a new one each time: a process that finishes a comparison deletes the key only if no fork
// was found since the comparison started.
//
// If the key cannot be stored, because its server does not answer, the accounts of other servers are
// repaired all the same.
func (s *sweeper) requireFullComparison(ctx context.Context) {
	value := uuid.NewString()
	if !s.comparison.isRequired {
		s.startComparison(value)
	}

	s.comparison.value = value // this process repairs the fork that it has just found
	s.comparison.isStored = false
	err := s.storeForkedKey(ctx)
	if err != nil && ctx.Err() == nil {
		s.logLimit.Do(func() {
			s.cfg.Logger.Warn("storing that all accounts must be compared failed; retrying", "error", err)
		})
	}
}

// storeForkedKey stores the key Forked, unless it is stored.
func (s *sweeper) storeForkedKey(ctx context.Context) error {
	if s.comparison.isStored {
		return nil
	}

	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	err := s.rdb.Set(limited, s.keys.Forked(), s.comparison.value, 0).Err()
	if err != nil {
		return fmt.Errorf("set %s: %w", s.keys.Forked(), err)
	}

	s.comparison.isStored = true
	return nil
}

func (s *sweeper) startComparison(value string) {
	s.comparison = comparison{isRequired: true, value: value, isStored: true, started: time.Now()}
	s.metrics.comparing.Set(1)
	s.setHistoryProgress(&historyProgress{})
	s.cfg.Logger.Warn("comparing all balance hashes with the ledger; see "+docsPage, "key", s.keys.Forked())
}

// runComparison runs one slice of the comparison. An error does not fail the pass, which has done its
// work: the next one goes on.
func (s *sweeper) runComparison(ctx context.Context) {
	if !s.comparison.isRequired || s.redisDown.Load() {
		return
	}

	err := s.runSlice(ctx)
	if err != nil && ctx.Err() == nil {
		s.logLimit.Do(func() {
			s.cfg.Logger.Warn("comparing all balance hashes with the ledger failed; retrying", "error", err)
		})

		return
	}

	sendToken(s.sweepNow) // the next slice must not wait for a tick
}

func (s *sweeper) runSlice(ctx context.Context) error {
	c := &s.comparison
	err := s.storeForkedKey(ctx)
	if err != nil {
		return err
	}

	deadline := time.Now().Add(comparisonSlice)
	for time.Now().Before(deadline) {
		finished, err := s.stepComparison(ctx)
		s.setHistoryProgress(&historyProgress{compared: c.compared, repaired: c.repaired})
		if err != nil {
			return err
		}

		if finished {
			return s.finishComparison(ctx)
		}
	}

	return nil
}

// stepComparison repairs the collected forks of one partition, or compares one page of hashes.
func (s *sweeper) stepComparison(ctx context.Context) (finished bool, err error) {
	c := &s.comparison
	if c.scans == nil || c.serverID != s.serverID {
		c.restart()
		c.serverID = s.serverID
		c.scans, err = s.listMasters(ctx)
		if err != nil {
			return false, err
		}
	}

	i := slices.IndexFunc(c.scans, func(m *masterScan) bool { return !m.finished })
	if len(c.forks) >= maxForks || (i < 0 && len(c.forks) > 0) {
		return false, s.repairCollected(ctx)
	}

	if i < 0 {
		return true, nil
	}

	return false, s.comparePageOf(ctx, c.scans[i])
}

// repairCollected repairs the collected forks of one partition.
func (s *sweeper) repairCollected(ctx context.Context) error {
	c := &s.comparison
	partition := s.keys.Partition(c.forks[0].account)
	isOther := func(f *fork) bool { return s.keys.Partition(f.account) != partition }
	group := slices.DeleteFunc(slices.Clone(c.forks), isOther)

	err := s.repairPartition(ctx, partition, group)
	if err != nil {
		return err
	}

	c.forks = slices.DeleteFunc(c.forks, func(f *fork) bool { return !isOther(f) })
	c.repaired += len(group)
	return nil
}

// comparePageOf compares the next page of a server's hashes. It publishes again what Redis lacks: a
// process may have died after it had rewound an account.
func (s *sweeper) comparePageOf(ctx context.Context, m *masterScan) error {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	pattern := escapePattern(s.keys.Namespace) + ":{*}:balance:*"
	keys, next, err := m.client.Scan(limited, m.cursor, pattern, scanPage).Result()
	if err != nil {
		s.comparison.restart() // the server may be another one
		return fmt.Errorf("scan: %w", err)
	}

	accounts := make([]string, 0, len(keys))
	for _, key := range keys {
		_, account, _ := strings.Cut(key, "}:balance:")
		if s.keys.BalanceHash(account) == key {
			accounts = append(accounts, account)
		}
	}

	for page := range slices.Chunk(accounts, comparePage) {
		err := s.comparePage(ctx, page)
		if err != nil {
			return err
		}
	}

	m.cursor = next
	m.finished = next == 0
	return nil
}

func (s *sweeper) comparePage(ctx context.Context, accounts []string) error {
	forks, lags, err := s.compareHashes(ctx, accounts, nil)
	if err != nil {
		return err
	}

	for _, l := range lags {
		err := s.republishUpdates(ctx, l.account, l.seq, l.newest)
		if err != nil {
			return err
		}
	}

	s.comparison.forks = append(s.comparison.forks, forks...)
	s.comparison.compared += len(accounts)
	return nil
}

// listMasters returns the servers that have the balance hashes.
func (s *sweeper) listMasters(ctx context.Context) ([]*masterScan, error) {
	cluster, ok := s.rdb.(*redis.ClusterClient)
	if !ok {
		return []*masterScan{{client: s.rdb}}, nil
	}

	var mu sync.Mutex // protects scans, since ForEachMaster calls in parallel
	var scans []*masterScan
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()

		scans = append(scans, &masterScan{client: c, address: c.Options().Addr})
		return nil
	})

	if err != nil {
		return nil, fmt.Errorf("list masters: %w", err)
	}

	slices.SortFunc(scans, func(a, b *masterScan) int { return cmp.Compare(a.address, b.address) })
	return scans, nil
}

// finishComparison ends the comparison, unless Redis was replaced or another process found a fork
// meanwhile.
func (s *sweeper) finishComparison(ctx context.Context) error {
	c := &s.comparison
	s.checkServerID(ctx)
	if c.serverID != s.serverID {
		return nil // the next slice begins again
	}

	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	value, err := deleteForkedScript.Run(limited, s.rdb, []string{s.keys.Forked()}, c.value).Text()
	if err != nil {
		return fmt.Errorf("delete %s: %w", s.keys.Forked(), err)
	}

	s.metrics.comparisons.Inc()
	s.cfg.Logger.Warn("all balance hashes were compared with the ledger; count accounts were repaired",
		"count", c.repaired, "duration", time.Since(c.started).Round(time.Millisecond))
	if value != "" {
		s.startComparison(value)
		return nil
	}

	s.comparison = comparison{}
	s.metrics.comparing.Set(0)
	s.setHistoryProgress(nil)
	return nil
}

// escapePattern escapes the characters that have a meaning in a pattern of SCAN.
func escapePattern(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}

// historyProgress is the state of a full comparison, for CheckHistory.
type historyProgress struct {
	compared int // hashes
	repaired int // accounts
}

// setHistoryProgress publishes the state of the comparison; nil: none is required.
func (r *Relay) setHistoryProgress(p *historyProgress) { r.history.Store(p) }

// ErrHistory is the error of CheckHistory.
var ErrHistory = errors.New("the streams had events that the ledger does not have")

// CheckHistory returns an error while Redis may have events that the ledger does not have, because
// not all accounts have been compared yet.
func (r *Relay) CheckHistory() error {
	p := r.history.Load()
	if p == nil {
		return nil
	}

	return fmt.Errorf("%w; comparing all balance hashes with the ledger: %d compared, %d accounts repaired; see "+docsPage,
		ErrHistory, p.compared, p.repaired)
}
