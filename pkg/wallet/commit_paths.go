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

// errRetryLocked means that commitOptimistic wrote nothing and that the batch must be committed
// with commitLocked.
var errRetryLocked = errors.New("batch must be committed with locks")

// commitOptimistic commits a batch without locks and without looking up idempotency keys. On
// Postgres it is one statement and one round trip if the commit cache has all wallets and escrows.
// On success every request has its result.
//
// commitOptimistic assumes that every key is new, and that no other core changed the accounts since
// they were cached or read. The write checks both assumptions and fails with errConflict if one of
// them is wrong. A refusal may be wrong for the same reasons: another core may have added the
// missing points, and a retried settlement finds its escrow already closed. commitOptimistic
// returns errRetryLocked after a conflict and after a refusal.
func (c *committer) commitOptimistic(ctx context.Context, batch []*request) error {
	start := c.startCommit()
	tx, err := c.store.beginBatch(ctx, false)
	if err != nil {
		return fmt.Errorf("begin batch: %w", err)
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
		c.avoidConflicts(useCache)
		return errRetryLocked
	}

	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}

	return c.finishCommit(tx, start, batch, m, outboxIDs)
}

// commitStart is the time at which a commit began, and the store's generation at that time.
type commitStart struct {
	at         time.Time
	generation uint64
}

// startCommit also empties the cache if the store has reached another database.
func (c *committer) startCommit() commitStart {
	start := commitStart{
		at:         time.Now(),
		generation: c.store.generation(),
	}

	if c.cache != nil {
		c.cache.startGeneration(start.generation)
	}

	return start
}

// avoidConflicts makes the next batches more careful after a conflict. If the batch used the cache,
// the cache may have been out of date, so it is enough to read.
func (c *committer) avoidConflicts(usedCache bool) {
	if usedCache {
		c.skipCacheFor = afterConflict
	} else {
		c.lockedFor = afterConflict
	}
}

// commitLocked commits a batch in one transaction. The transaction locks and reads the escrows and
// the wallets, looks up the idempotency keys, writes and commits. On success every request has its
// result.
//
// The keys are looked up after the locks are taken. If another core commits the same request at the
// same moment, this request then gets the receipt and is not refused. So every refusal follows a
// read under locks.
func (c *committer) commitLocked(ctx context.Context, batch []*request) error {
	start := c.startCommit()
	c.metrics.locked.Inc()
	tx, err := c.store.beginBatch(ctx, true)
	if err != nil {
		return fmt.Errorf("begin batch: %w", err)
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
		c.lockedFor = afterConflict // a client is retrying its requests
	}

	m := c.applyBatch(st, batch, known)
	if len(m.transactions) == 0 {
		tx.rollback() // ends the locks
		return c.store.durability().proveVisible(ctx, start.generation, newestTransaction(known))
	}

	outboxIDs, err := tx.writeBatch(ctx, m)
	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}

	return c.finishCommit(tx, start, batch, m, outboxIDs)
}

// newestTransaction returns the time of the newest transaction whose key was used before.
func newestTransaction(known map[keyRef]*knownKey) (newest time.Time) {
	for _, k := range known {
		newest = latest(newest, k.tx.CreatedAt)
	}

	return newest
}

// finishCommit commits the transaction, announces the events and updates the cache.
func (c *committer) finishCommit(tx batchTx, start commitStart, batch []*request, m *mutations, outboxIDs []int64) error {
	err := tx.commit()
	if err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}

	c.writes.noteSuccess()
	c.store.durability().noteConfirmed(start.at, start.generation)
	c.metrics.commitSeconds.Observe(time.Since(start.at).Seconds())
	c.metrics.batchSize.Observe(float64(len(batch)))
	c.announceEvents(m.transactions, outboxIDs, start.generation)
	if c.cache != nil {
		c.cache.storeBatch(m, start.generation)
	}

	return nil
}

// announceEvents passes the committed events to Config.Committed. It runs in the committing
// goroutine, before the scheduler starts other requests for the same accounts. So the events of an
// account are announced in the order of the commits.
func (c *committer) announceEvents(txs []Transaction, outboxIDs []int64, generation uint64) {
	if c.cfg.Committed == nil {
		return
	}

	rows := make([]bus.OutboxRow, len(txs))
	for i := range txs {
		rows[i] = bus.OutboxRow{
			ID:          outboxIDs[i],
			CommittedAt: txs[i].CreatedAt,
			Updates:     deriveUpdates(&txs[i]),
			Generation:  generation,
		}
	}

	c.cfg.Committed(rows)
}

// uncacheState removes the state's wallets and escrows from the cache.
func (c *committer) uncacheState(st *state) {
	if c.cache != nil {
		c.cache.removeState(st)
	}
}

// loadState loads the wallets and escrows of a batch's operations from the cache or from the
// database. Escrows come first because they name their users.
func (c *committer) loadState(ctx context.Context, tx batchTx, batch []*request, useCache bool) (*state, error) {
	st := &state{
		wallets: make(map[Account]*wallet, len(batch)),
		escrows: make(map[uuid.UUID]*Escrow),
	}

	cache := &commitCache{} // empty, so that everything is read
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

// loadEscrows reads escrows into the state. It returns their users whose wallets are missing.
func loadEscrows(ctx context.Context, tx batchTx, st *state, ids []uuid.UUID) ([]Account, error) {
	if len(ids) == 0 {
		return nil, nil
	}

	slices.SortFunc(ids, func(a, b uuid.UUID) int {
		return bytes.Compare(a[:], b[:])
	})
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

// loadWallets reads wallets into the state.
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
		w := &wallets[i]
		st.wallets[w.Account] = w
	}

	return nil
}

// lookUpKeys returns the idempotency keys of the batch that were used before.
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
		k := &found[i]
		known[k.keyRef] = k
	}

	return known, nil
}
