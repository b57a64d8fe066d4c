package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// errRetryLocked is commitOptimistic's answer when it cannot tell what the truth is: the batch
// must be committed with commitLocked. Nothing of it was written.
var errRetryLocked = errors.New("the batch must be committed with locks")

// commitOptimistic commits a batch without locks and without looking keys up. On Postgres that is
// one statement and one round trip, if the commit cache has all wallets and escrows.
//
// It assumes that every key is new and that no other core has written these accounts since they
// were cached or read. The write checks both, and fails if one of them is wrong. A refusal proves
// nothing either: another core may have added the points that seem to be missing, and a repeated
// settlement finds its escrow settled. In both cases it returns errRetryLocked. On success every
// request has its result.
func (c *committer) commitOptimistic(ctx context.Context, batch []*request) error {
	start := time.Now()
	tx, err := c.store.beginBatch(ctx, false)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.rollback()

	useCache := c.cache != nil && c.skipCacheFor == 0
	st, err := c.loadState(ctx, tx, batch, useCache)
	if err != nil {
		return err
	}

	m := c.applyBatch(st, batch, make(map[keyRef]*knownKey, len(batch)))
	if m.refused {
		c.uncacheState(st)
		return errRetryLocked
	}

	outboxIDs, err := tx.writeBatch(ctx, m)
	if errors.Is(err, errConflict) {
		c.uncacheState(st)
		if useCache {
			c.skipCacheFor = afterConflict // perhaps only the cache was out of date
		} else {
			c.lockedFor = afterConflict
		}
		return errRetryLocked
	}
	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}

	return c.finishCommit(tx, start, batch, m, outboxIDs)
}

// commitLocked commits a batch as one transaction that locks its escrows and wallets, reads them,
// looks the idempotency keys up, writes and commits. The keys come after the locks, so that a
// repeat which another core commits at the same moment gets its receipt and not a refusal. So a
// refusal is answered only after a read under locks. On success every request has its result.
func (c *committer) commitLocked(ctx context.Context, batch []*request) error {
	start := time.Now()
	c.metrics.locked.Inc()
	tx, err := c.store.beginBatch(ctx, true)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.rollback()

	st, err := c.loadState(ctx, tx, batch, false)
	if err != nil {
		return err
	}

	known, err := lookUpKeys(ctx, tx, batch)
	if err != nil {
		return fmt.Errorf("read idempotency keys: %w", err)
	}

	if len(known) > 0 {
		c.lockedFor = afterConflict // a client repeats its requests
	}

	m := c.applyBatch(st, batch, known)
	if len(m.transactions) == 0 {
		return nil // there are only repeats and refusals
	}

	outboxIDs, err := tx.writeBatch(ctx, m)
	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}

	return c.finishCommit(tx, start, batch, m, outboxIDs)
}

// finishCommit commits what was written, announces it and caches it.
func (c *committer) finishCommit(tx batchTx, start time.Time, batch []*request, m *mutations, outboxIDs []int64) error {
	err := tx.commit()
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}

	c.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	c.metrics.batchSize.Observe(float64(len(batch)))
	c.announceEvents(m.transactions, outboxIDs)
	if c.cache != nil {
		c.cache.storeBatch(m)
	}

	return nil
}

// announce hands the committed events to Config.Committed. It derives them here, in the committing
// goroutine, before the scheduler starts other requests for the same accounts. So an account's
// events are handed over in the order of commits.
func (c *committer) announceEvents(txs []Transaction, outboxIDs []int64) {
	if c.cfg.Committed == nil {
		return
	}
	rows := make([]bus.OutboxRow, len(txs))
	for i := range txs {
		rows[i] = bus.OutboxRow{
			ID:          outboxIDs[i],
			CommittedAt: txs[i].CreatedAt,
			Updates:     deriveUpdates(&txs[i]),
		}
	}
	c.cfg.Committed(rows)
}

func (c *committer) uncacheState(st *state) {
	if c.cache != nil {
		c.cache.removeState(st)
	}
}

// loadState brings the wallets and escrows that the batch's operations touch, from the cache or
// from the database. Escrows come first, since they name their users.
func (c *committer) loadState(ctx context.Context, tx batchTx, batch []*request, useCache bool) (*state, error) {
	st := &state{wallets: make(map[Account]*wallet, len(batch)), escrows: make(map[uuid.UUID]*Escrow)}
	cache := &commitCache{} // has nothing, so that all is read
	if useCache {
		cache = c.cache
	}

	escrowIDs, accounts := cache.loadInto(st, batch)
	users, err := loadEscrows(ctx, tx, st, escrowIDs)
	if err != nil {
		return nil, fmt.Errorf("read escrows: %w", err)
	}

	err = loadWallets(ctx, tx, st, append(accounts, users...))
	if err != nil {
		return nil, fmt.Errorf("read wallets: %w", err)
	}

	return st, nil
}

// loadEscrows returns the escrows' users whose wallets are still missing.
func loadEscrows(ctx context.Context, tx batchTx, st *state, ids []uuid.UUID) ([]Account, error) {
	if len(ids) == 0 {
		return nil, nil
	}

	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	escrows, err := tx.readEscrows(ctx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}

	var users []Account
	for i := range escrows {
		e := &escrows[i]
		st.escrows[e.ID] = e
		if st.wallets[e.User] == nil {
			users = append(users, e.User)
		}
	}

	return users, nil
}

func loadWallets(ctx context.Context, tx batchTx, st *state, accounts []Account) error {
	if len(accounts) == 0 {
		return nil
	}

	slices.Sort(accounts)
	wallets, err := tx.readWallets(ctx, slices.Compact(accounts))
	if err != nil {
		return err
	}

	for i := range wallets {
		st.wallets[wallets[i].Account] = &wallets[i]
	}

	return nil
}

// lookUpKeys returns those of the batch's keys that were used before.
func lookUpKeys(ctx context.Context, tx batchTx, batch []*request) (map[keyRef]*knownKey, error) {
	refs := make([]keyRef, len(batch))
	for i, r := range batch {
		refs[i] = r.keyRef()
	}

	found, err := tx.readKeys(ctx, refs)
	if err != nil {
		return nil, err
	}

	known := make(map[keyRef]*knownKey, len(batch))
	for i := range found {
		known[found[i].keyRef] = &found[i]
	}

	return known, nil
}
