package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	_ "github.com/lib/pq" // the driver

	"github.com/redroomrewards/realtime/pkg/bus"
)

var (
	errKeyUsed           = errors.New("the idempotency key was used before")
	errInsufficientFunds = errors.New("insufficient funds")
)

// ledger creates each hold in a transaction of its own.
type ledger struct {
	db            *sql.DB
	insertKey     *sql.Stmt
	lockWallet    *sql.Stmt
	updateWallet  *sql.Stmt
	insertTx      *sql.Stmt
	insertEntries *sql.Stmt
	insertEscrow  *sql.Stmt
	insertOutbox  *sql.Stmt
}

// connectionSettings are the settings of the core's connections. Without them, statements that were
// prepared on empty tables keep sequential scans.
var connectionSettings = map[string]string{
	"application_name": "baseline",
	"plan_cache_mode":  "force_generic_plan",
	"jit":              "off",
	"enable_seqscan":   "off",
	"enable_hashjoin":  "off",
	"enable_mergejoin": "off",
}

// openLedger connects to the database and prepares the statements.
func openLedger(ctx context.Context, databaseURL string, pool int) (*ledger, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errors.New("DATABASE_URL must be a URL")
	}

	q := u.Query()
	for name, value := range connectionSettings {
		q.Set(name, value)
	}

	u.RawQuery = q.Encode()
	db, err := sql.Open("postgres", u.String())
	if err != nil {
		return nil, err
	}

	db.SetMaxOpenConns(pool)
	db.SetMaxIdleConns(pool)

	l := &ledger{db: db}
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&l.insertKey, insertKeySQL},
		{&l.lockWallet, lockWalletSQL},
		{&l.updateWallet, updateWalletSQL},
		{&l.insertTx, insertTxSQL},
		{&l.insertEntries, insertEntriesSQL},
		{&l.insertEscrow, insertEscrowSQL},
		{&l.insertOutbox, insertOutboxSQL},
	} {
		*p.stmt, err = db.PrepareContext(ctx, p.sql)
		if err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("prepare statement: %w", err)
		}
	}

	return l, nil
}

const (
	insertKeySQL = `INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at)
		VALUES ('hold', $1, $2, $3, $4) ON CONFLICT DO NOTHING`
	lockWalletSQL   = `SELECT available, escrow, seq, hash FROM wallets WHERE account = $1 FOR UPDATE`
	updateWalletSQL = `UPDATE wallets SET available = $2, escrow = $3, seq = $4, hash = $5, updated_at = $6 WHERE account = $1`
	insertTxSQL     = `INSERT INTO transactions (id, operation, amount, refund_amount, settle_amount, reason, escrow_id, queue_item_id,
		feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available, user_escrow, created_at, chains)
		VALUES ($1, 'hold', $2, 0, 0, $3, $4, $5, $6, NULLIF($7, ''), $8, NULLIF($9, ''), $10, $11, $12, $13, $14, $15)`
	insertEntriesSQL = `INSERT INTO entries (account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at)
		VALUES ($1, $2, $3, 0, 'available', $4, $5, $6, $7, $13), ($1, $8, $3, 1, 'escrow', $9, $10, $11, $12, $13)`
	insertEscrowSQL = `INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at)
		VALUES ($1, $2, $3, 'held', $4, $5, $6, $7, $8)`
	insertOutboxSQL = `INSERT INTO outbox (transaction_id) VALUES ($1)`
)

// createHold moves points into a new escrow, in one transaction.
func (l *ledger) createHold(ctx context.Context, account, key, requestID string, r *holdRequest) (*receipt, error) {
	id := uuid.Must(uuid.NewV7())
	escrow := uuid.Must(uuid.NewV7())
	now := time.Now().UTC().Truncate(time.Millisecond)

	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit

	err = l.claimKey(ctx, tx, key, id, now, r)
	if err != nil {
		return nil, err
	}

	var available, held, seq int64
	var hash []byte
	row := tx.StmtContext(ctx, l.lockWallet).QueryRowContext(ctx, account)
	err = row.Scan(&available, &held, &seq, &hash)
	if err != nil {
		return nil, fmt.Errorf("lock wallet: %w", err)
	}

	if available < r.Amount {
		return nil, errInsufficientFunds
	}

	hash1 := entryHash(hash, id, account, r, seq+2, -r.Amount, available)
	hash2 := entryHash(hash1, id, account, r, seq+3, r.Amount, held)
	for _, step := range []struct {
		name string
		stmt *sql.Stmt
		args []any
	}{
		{"update wallet", l.updateWallet, []any{account, available - r.Amount, held + r.Amount, seq + 3, hash2, now}},
		{"insert transaction", l.insertTx, []any{
			id, r.Amount, r.Reason, escrow, r.QueueItemID, r.FeatureType, r.CorrelationID, requestID, string(r.Metadata),
			account, seq + 3, available - r.Amount, held + r.Amount, now, holdChains(hash, hash1, hash2, id),
		}},
		{"insert entries", l.insertEntries, []any{
			account, seq + 2, id, -r.Amount, available, available - r.Amount, hash1,
			seq + 3, r.Amount, held, held + r.Amount, hash2, now,
		}},
		{"insert escrow", l.insertEscrow, []any{escrow, account, r.Amount, r.Reason, r.QueueItemID, r.FeatureType, id, now}},
		{"insert outbox row", l.insertOutbox, []any{id}},
	} {
		_, err := tx.StmtContext(ctx, step.stmt).ExecContext(ctx, step.args...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}

	err = tx.Commit()
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}

	timestamp := now.Format(bus.TimeFormat)
	return &receipt{
		TransactionID: id,
		Operation:     "hold",
		EscrowID:      escrow,
		Amount:        r.Amount,
		Timestamp:     timestamp,
		Balances: []balance{{
			Account:     account,
			AccountID:   bus.AccountID(account),
			AccountType: "user",
			Available:   available - r.Amount,
			Escrow:      held + r.Amount,
			Currency:    "points",
			Seq:         seq + 3,
			LastUpdated: timestamp,
		}},
	}, nil
}

// claimKey inserts the idempotency key. It returns errKeyUsed if the key exists.
func (l *ledger) claimKey(ctx context.Context, tx *sql.Tx, key string, id uuid.UUID, now time.Time, r *holdRequest) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q %s", r.Amount, r.Reason, r.QueueItemID, r.FeatureType, r.Metadata))
	result, err := tx.StmtContext(ctx, l.insertKey).ExecContext(ctx, key, sum[:16], id, now)
	if err != nil {
		return fmt.Errorf("insert idempotency key: %w", err)
	}

	n, err := result.RowsAffected()
	if err != nil || n == 0 {
		return errKeyUsed
	}
	return nil
}

// entryHash chains the entries of an account. It costs as much as the core's hash, but its value is
// different.
func entryHash(previous []byte, id uuid.UUID, account string, r *holdRequest, seq, amount, before int64) []byte {
	b := make([]byte, 0, 512)
	b = append(b, previous...)
	b = append(b, id[:]...)
	for _, s := range [...]string{account, r.Reason, r.QueueItemID, r.FeatureType, r.CorrelationID, string(r.Metadata)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // the strings are short
		b = append(b, s...)
	}

	for _, n := range [...]int64{seq, amount, before, before + amount} {
		b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // two's complement
	}

	sum := sha256.Sum256(b)
	return sum[:]
}

// holdChains returns the chains of a hold's events, as the core stores them: that before the hold,
// that of its own event, and those of its entries.
func holdChains(before, hash1, hash2 []byte, id uuid.UUID) []byte {
	own := sha256.Sum256(append(before[:len(before):len(before)], id[:]...))
	chains := make([]byte, 0, 4*8)
	for _, hash := range [...][]byte{before, own[:], hash1, hash2} {
		chains = append(chains, hash[:8]...)
	}

	return chains
}
