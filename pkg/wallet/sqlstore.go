package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// sqlStore holds the queries that are the same on both databases. Columns that
// hold times are timestamptz on Postgres and milliseconds on SQLite; dbTime
// reads both. Ranges of time go by UUIDv7, which is in order of time.
type sqlStore struct {
	db *sqlx.DB
}

func (s *sqlStore) ping(ctx context.Context) error { return s.db.PingContext(ctx) }
func (s *sqlStore) close() error                   { return s.db.Close() }

// dbTime scans a timestamptz, or milliseconds since 1970.
type dbTime struct{ time.Time }

// Scan implements sql.Scanner.
func (t *dbTime) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("a time cannot be read from %T", v)
	}
	return nil
}

// text scans a nullable text column; NULL is the empty string.
type text string

// Scan implements sql.Scanner.
func (t *text) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ""
	case string:
		*t = text(v)
	case []byte:
		*t = text(v)
	default:
		return fmt.Errorf("a text cannot be read from %T", v)
	}
	return nil
}

// number scans a nullable integer column; NULL is 0.
type number int64

// Scan implements sql.Scanner.
func (n *number) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*n = 0
	case int64:
		*n = number(v)
	default:
		return fmt.Errorf("a number cannot be read from %T", v)
	}
	return nil
}

const walletColumns = `account, available, escrow, earned, seq, hash, updated_at`

type walletRow struct {
	Account   string `db:"account"`
	Available int64  `db:"available"`
	Escrow    int64  `db:"escrow"`
	Earned    int64  `db:"earned"`
	Seq       int64  `db:"seq"`
	Hash      []byte `db:"hash"`
	UpdatedAt dbTime `db:"updated_at"`
}

func (r *walletRow) wallet() wallet {
	return wallet{
		Account: Account(r.Account), Available: r.Available, Escrow: r.Escrow, Earned: r.Earned,
		Seq: r.Seq, Hash: r.Hash, UpdatedAt: r.UpdatedAt.Time,
	}
}

func (s *sqlStore) wallet(ctx context.Context, a Account) (*wallet, error) {
	var r walletRow
	err := s.db.GetContext(ctx, &r, `SELECT `+walletColumns+` FROM wallets WHERE account = $1`, string(a))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrAccountNotFound
	}
	if err != nil {
		return nil, err
	}
	w := r.wallet()
	return &w, nil
}

const escrowColumns = `id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at,
	expires_at, closed_by, closed_at, model_account, refund_amount, settle_amount`

type escrowRow struct {
	ID           uuid.UUID     `db:"id"`
	User         string        `db:"user_account"`
	Amount       int64         `db:"amount"`
	Status       string        `db:"status"`
	Reason       string        `db:"reason"`
	QueueItemID  string        `db:"queue_item_id"`
	FeatureType  string        `db:"feature_type"`
	HeldBy       uuid.UUID     `db:"held_by"`
	CreatedAt    dbTime        `db:"created_at"`
	ExpiresAt    dbTime        `db:"expires_at"`
	ClosedBy     uuid.NullUUID `db:"closed_by"`
	ClosedAt     dbTime        `db:"closed_at"`
	Model        text          `db:"model_account"`
	RefundAmount int64         `db:"refund_amount"`
	SettleAmount int64         `db:"settle_amount"`
}

func (r *escrowRow) escrow() Escrow {
	return Escrow{
		ID: r.ID, User: Account(r.User), Amount: r.Amount, Status: EscrowStatus(r.Status), Reason: r.Reason,
		QueueItemID: r.QueueItemID, FeatureType: r.FeatureType, HeldBy: r.HeldBy, CreatedAt: r.CreatedAt.Time,
		ExpiresAt: r.ExpiresAt.Time, ClosedBy: r.ClosedBy.UUID, ClosedAt: r.ClosedAt.Time, Model: Account(r.Model),
		RefundAmount: r.RefundAmount, SettleAmount: r.SettleAmount,
	}
}

func (s *sqlStore) escrow(ctx context.Context, id uuid.UUID) (*Escrow, error) {
	var r escrowRow
	err := s.db.GetContext(ctx, &r, `SELECT `+escrowColumns+` FROM escrows WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrEscrowNotFound
	}
	if err != nil {
		return nil, err
	}
	e := r.escrow()
	return &e, nil
}

func (s *sqlStore) escrows(ctx context.Context, user Account, status EscrowStatus, before uuid.UUID, limit int) ([]Escrow, error) {
	var rows []escrowRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+escrowColumns+` FROM escrows
		WHERE user_account = $1 AND id < $2 AND ($3 = '' OR status = $3) ORDER BY id DESC LIMIT $4`,
		string(user), before, string(status), limit)
	return convert(rows, (*escrowRow).escrow), err
}

func (s *sqlStore) dueEscrows(ctx context.Context, now time.Time, limit int) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := s.db.SelectContext(ctx, &ids, `SELECT escrow_id FROM escrow_expiries WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`,
		s.time(now), limit)
	return ids, err
}

func (s *sqlStore) forgetKeys(ctx context.Context, t time.Time, limit int) (int64, error) {
	res, err := s.db.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE (operation, key) IN
		(SELECT operation, key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)`, s.time(t), limit)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// time is a time as this database's columns hold it.
func (s *sqlStore) time(t time.Time) any {
	if s.db.DriverName() == driverSQLite {
		return t.UnixMilli()
	}
	return t
}

const transactionColumns = `t.id, t.operation, t.amount, t.refund_amount, t.settle_amount, t.reason, t.escrow_id,
	t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata, t.user_account, t.user_seq,
	t.user_available, t.user_escrow, t.model_account, t.model_seq, t.model_earned, t.created_at`

type transactionRow struct {
	ID            uuid.UUID     `db:"id"`
	Operation     string        `db:"operation"`
	Amount        int64         `db:"amount"`
	RefundAmount  int64         `db:"refund_amount"`
	SettleAmount  int64         `db:"settle_amount"`
	Reason        string        `db:"reason"`
	EscrowID      uuid.NullUUID `db:"escrow_id"`
	QueueItemID   text          `db:"queue_item_id"`
	FeatureType   text          `db:"feature_type"`
	CorrelationID text          `db:"correlation_id"`
	RequestID     text          `db:"request_id"`
	Metadata      text          `db:"metadata"`
	User          text          `db:"user_account"`
	UserSeq       number        `db:"user_seq"`
	UserAvailable number        `db:"user_available"`
	UserEscrow    number        `db:"user_escrow"`
	Model         text          `db:"model_account"`
	ModelSeq      number        `db:"model_seq"`
	ModelEarned   number        `db:"model_earned"`
	CreatedAt     dbTime        `db:"created_at"`
}

func (r *transactionRow) transaction() Transaction {
	t := Transaction{
		ID: r.ID, Operation: Operation(r.Operation), Amount: r.Amount, RefundAmount: r.RefundAmount,
		SettleAmount: r.SettleAmount, Reason: r.Reason, EscrowID: r.EscrowID.UUID, QueueItemID: string(r.QueueItemID),
		FeatureType: string(r.FeatureType), CorrelationID: string(r.CorrelationID), RequestID: string(r.RequestID),
		CreatedAt: r.CreatedAt.Time,
	}
	if r.Metadata != "" {
		t.Metadata = []byte(r.Metadata)
	}
	if r.User != "" {
		t.Parties = append(t.Parties, Party{Account: Account(r.User), Seq: int64(r.UserSeq), Available: int64(r.UserAvailable), Escrow: int64(r.UserEscrow)})
	}
	if r.Model != "" {
		t.Parties = append(t.Parties, Party{Account: Account(r.Model), Seq: int64(r.ModelSeq), Earned: int64(r.ModelEarned)})
	}
	return t
}

func (s *sqlStore) transaction(ctx context.Context, id uuid.UUID) (*Transaction, error) {
	var r transactionRow
	err := s.db.GetContext(ctx, &r, `SELECT `+transactionColumns+` FROM transactions t WHERE t.id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrTransactionNotFound
	}
	if err != nil {
		return nil, err
	}
	tx := r.transaction()
	return &tx, nil
}

func (s *sqlStore) transactionsAfter(ctx context.Context, a Account, after int64, limit int) ([]Transaction, error) {
	var rows []transactionRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+transactionColumns+` FROM
		(SELECT transaction_id, min(seq) AS first FROM
			(SELECT transaction_id, seq FROM entries WHERE account = $1 AND seq > $2 ORDER BY seq LIMIT $3) e
			GROUP BY transaction_id) f
		JOIN transactions t ON t.id = f.transaction_id ORDER BY f.first`, string(a), after, limit)
	return convert(rows, (*transactionRow).transaction), err
}

func (s *sqlStore) outbox(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	var rows []struct {
		OutboxID int64 `db:"outbox_id"`
		transactionRow
	}
	err := s.db.SelectContext(ctx, &rows, `SELECT o.id AS outbox_id, `+transactionColumns+` FROM
		(SELECT id, transaction_id FROM outbox WHERE id > $1 ORDER BY id LIMIT $2) o
		JOIN transactions t ON t.id = o.transaction_id ORDER BY o.id`, after, limit)
	out := make([]outboxRow, len(rows))
	for i := range rows {
		out[i] = outboxRow{rows[i].OutboxID, rows[i].transaction()}
	}
	return out, err
}

func (s *sqlStore) backlog(ctx context.Context) (int64, uuid.UUID, error) {
	var r struct {
		Rows   int64         `db:"n"`
		Oldest uuid.NullUUID `db:"oldest"`
	}
	err := s.db.GetContext(ctx, &r, `SELECT (SELECT count(*) FROM outbox) AS n, (SELECT transaction_id FROM outbox ORDER BY id LIMIT 1) AS oldest`)
	return r.Rows, r.Oldest.UUID, err
}

func (s *sqlStore) changedSince(ctx context.Context, from uuid.UUID, above string, limit int) ([]bus.Position, error) {
	var rows []struct {
		Account string `db:"account"`
		Seq     int64  `db:"seq"`
	}
	err := s.db.SelectContext(ctx, &rows, `SELECT account, max(seq) AS seq FROM (
			SELECT user_account AS account, user_seq AS seq FROM transactions WHERE id >= $1 AND user_account > $2
			UNION ALL
			SELECT model_account, model_seq FROM transactions WHERE id >= $1 AND model_account > $2) c
		GROUP BY account ORDER BY account LIMIT $3`, from, above, limit)
	out := make([]bus.Position, len(rows))
	for i, r := range rows {
		out[i] = bus.Position{Account: r.Account, Seq: r.Seq}
	}
	return out, err
}

type entryRow struct {
	Account       string        `db:"account"`
	Seq           number        `db:"seq"`
	TransactionID uuid.UUID     `db:"transaction_id"`
	Place         int           `db:"place"`
	State         string        `db:"state"`
	Amount        int64         `db:"amount"`
	BalanceBefore int64         `db:"balance_before"`
	BalanceAfter  int64         `db:"balance_after"`
	Hash          []byte        `db:"hash"`
	CreatedAt     dbTime        `db:"created_at"`
	Operation     string        `db:"operation"`
	Reason        string        `db:"reason"`
	EscrowID      uuid.NullUUID `db:"escrow_id"`
	QueueItemID   text          `db:"queue_item_id"`
	FeatureType   text          `db:"feature_type"`
	CorrelationID text          `db:"correlation_id"`
	RequestID     text          `db:"request_id"`
	Metadata      text          `db:"metadata"`
}

const entryColumns = `e.account, e.seq, e.transaction_id, e.place, e.state, e.amount, e.balance_before, e.balance_after,
	e.hash, e.created_at, t.operation, t.reason, t.escrow_id, t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata`

func (r *entryRow) entry() Entry {
	e := Entry{
		ID: entryID(r.TransactionID, r.Place), TransactionID: r.TransactionID, Place: r.Place, Account: Account(r.Account),
		State: BalanceState(r.State), Amount: r.Amount, BalanceBefore: r.BalanceBefore, BalanceAfter: r.BalanceAfter,
		Seq: int64(r.Seq), Hash: r.Hash, CreatedAt: r.CreatedAt.Time, Operation: Operation(r.Operation), Reason: r.Reason,
		EscrowID: r.EscrowID.UUID, QueueItemID: string(r.QueueItemID), FeatureType: string(r.FeatureType),
		CorrelationID: string(r.CorrelationID), RequestID: string(r.RequestID),
	}
	if r.Metadata != "" {
		e.Metadata = []byte(r.Metadata)
	}
	return e
}

func (s *sqlStore) entries(ctx context.Context, a Account, reason string, from, to uuid.UUID, before int64, limit int) ([]Entry, error) {
	var rows []entryRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+entryColumns+` FROM entries e JOIN transactions t ON t.id = e.transaction_id
		WHERE e.account = $1 AND e.seq < $2 AND e.transaction_id >= $3 AND e.transaction_id < $4 AND ($5 = '' OR t.reason = $5)
		ORDER BY e.seq DESC LIMIT $6`, string(a), before, from, to, reason, limit)
	return convert(rows, (*entryRow).entry), err
}

func (s *sqlStore) transactionEntries(ctx context.Context, tx *Transaction) ([]Entry, error) {
	// The parties' entries are found by (account, seq), the system account's by
	// its own small index; so entries need no index by transaction.
	var p [2]Party
	copy(p[:], tx.Parties)
	var rows []entryRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+entryColumns+` FROM (
			SELECT `+legColumns+` FROM entries WHERE account = $2 AND seq > $3 AND seq <= $4
			UNION ALL SELECT `+legColumns+` FROM entries WHERE account = $5 AND seq > $6 AND seq <= $7
			UNION ALL SELECT `+legColumns+` FROM entries WHERE transaction_id = $1 AND seq IS NULL) e
		JOIN transactions t ON t.id = e.transaction_id WHERE e.transaction_id = $1 ORDER BY e.place`,
		tx.ID, string(p[0].Account), p[0].Seq-maxLegs, p[0].Seq, string(p[1].Account), p[1].Seq-maxLegs, p[1].Seq)
	return convert(rows, (*entryRow).entry), err
}

const legColumns = `account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at`

// maxLegs is the most entries that a transaction gives to one account.
const maxLegs = 2

func convert[R, T any](rows []R, f func(*R) T) []T {
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = f(&rows[i])
	}
	return out
}
