package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// sqlStore has the queries that both databases have in common. Times are timestamptz on Postgres
// and milliseconds since 1970 on SQLite. dbTime reads both. A range of time is queried as a range
// of UUIDv7 ids, which are in the order of time.
type sqlStore struct {
	db *sqlx.DB
}

func (s *sqlStore) sharedQueries() *sqlStore { return s }

func (s *sqlStore) ping(ctx context.Context) error { return s.db.PingContext(ctx) }

func (s *sqlStore) close() error { return s.db.Close() }

func (s *sqlStore) isSQLite() bool { return s.db.DriverName() == driverSQLite }

// dbTime scans a timestamptz or milliseconds since 1970. NULL becomes the zero time.
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
		return fmt.Errorf("time column must be timestamptz or an integer; got %T", v)
	}

	return nil
}

// dbText scans a nullable text column. NULL becomes the empty string.
type dbText string

// Scan implements sql.Scanner.
func (t *dbText) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ""
	case string:
		*t = dbText(v)
	case []byte:
		*t = dbText(v)
	default:
		return fmt.Errorf("text column must be text; got %T", v)
	}

	return nil
}

// dbNumber scans a nullable integer column. NULL becomes 0.
type dbNumber int64

// Scan implements sql.Scanner.
func (n *dbNumber) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*n = 0
	case int64:
		*n = dbNumber(v)
	default:
		return fmt.Errorf("integer column must be an integer; got %T", v)
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

func (r *walletRow) toWallet() wallet {
	return wallet{
		Account:   Account(r.Account),
		Available: r.Available,
		Escrow:    r.Escrow,
		Earned:    r.Earned,
		Seq:       r.Seq,
		Hash:      r.Hash,
		UpdatedAt: r.UpdatedAt.Time,
	}
}

const walletSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account = $1`

// readWallet returns the account's wallet or ErrAccountNotFound.
func (s *sqlStore) readWallet(ctx context.Context, a Account) (*wallet, error) {
	var r walletRow
	err := s.db.GetContext(ctx, &r, walletSQL, string(a))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrAccountNotFound
	}

	if err != nil {
		return nil, err
	}

	w := r.toWallet()
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
	Model        dbText        `db:"model_account"`
	RefundAmount int64         `db:"refund_amount"`
	SettleAmount int64         `db:"settle_amount"`
}

func (r *escrowRow) toEscrow() Escrow {
	return Escrow{
		ID:           r.ID,
		User:         Account(r.User),
		Amount:       r.Amount,
		Status:       EscrowStatus(r.Status),
		Reason:       r.Reason,
		QueueItemID:  r.QueueItemID,
		FeatureType:  r.FeatureType,
		HeldBy:       r.HeldBy,
		CreatedAt:    r.CreatedAt.Time,
		ExpiresAt:    r.ExpiresAt.Time,
		ClosedBy:     r.ClosedBy.UUID,
		ClosedAt:     r.ClosedAt.Time,
		Model:        Account(r.Model),
		RefundAmount: r.RefundAmount,
		SettleAmount: r.SettleAmount,
	}
}

const escrowSQL = `SELECT ` + escrowColumns + ` FROM escrows WHERE id = $1`

// readEscrow returns an escrow or ErrEscrowNotFound.
func (s *sqlStore) readEscrow(ctx context.Context, id uuid.UUID) (*Escrow, error) {
	var r escrowRow
	err := s.db.GetContext(ctx, &r, escrowSQL, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrEscrowNotFound
	}

	if err != nil {
		return nil, err
	}

	e := r.toEscrow()
	return &e, nil
}

// escrowsSQL searches the user's next $3 escrows in the order of the index. It returns the escrows
// with the status, and also the last one that it searched. It has a LIMIT and not a second bound on
// id, because without statistics Postgres would then sort all escrows of the user.
const escrowsSQL = `SELECT ` + escrowColumns + `, place FROM (
		SELECT ` + escrowColumns + `, row_number() OVER (ORDER BY id DESC) AS place
		FROM escrows WHERE user_account = $1 AND id < $2 ORDER BY id DESC LIMIT $3) x
	WHERE $4 = '' OR status = $4 OR place = $3 ORDER BY id DESC LIMIT $5`

// listEscrows searches at most scan of the user's escrows with ids less than before, newest first.
// It returns at most limit escrows with the status. last is the id of the last escrow that it
// searched. It is uuid.Nil if there are no more escrows or if limit was reached first.
func (s *sqlStore) listEscrows(
	ctx context.Context, user Account, status EscrowStatus, before uuid.UUID, scan, limit int,
) (escrows []Escrow, last uuid.UUID, err error) {
	var rows []struct {
		escrowRow
		Place int `db:"place"`
	}

	err = s.db.SelectContext(ctx, &rows, escrowsSQL, string(user), before, scan, string(status), limit)
	escrows = make([]Escrow, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		if r.Place == scan {
			last = r.ID
		}

		if status == "" || r.Status == string(status) {
			escrows = append(escrows, r.toEscrow())
		}
	}

	return escrows, last, err
}

// dueEscrow is a row of the table escrow_expiries with the fields that the refund needs.
type dueEscrow struct {
	ID          uuid.UUID `db:"escrow_id"`
	ExpiresAt   dbTime    `db:"expires_at"`
	Amount      int64     `db:"amount"`
	QueueItemID string    `db:"queue_item_id"`
}

const dueEscrowsSQL = `SELECT d.escrow_id, d.expires_at, coalesce(x.amount, 0) AS amount, coalesce(x.queue_item_id, '') AS queue_item_id
	FROM (SELECT escrow_id, expires_at FROM escrow_expiries WHERE expires_at <= $1 AND (expires_at, escrow_id) > ($2, $3)
		ORDER BY expires_at, escrow_id LIMIT $4) d
	LEFT JOIN escrows x ON x.id = d.escrow_id ORDER BY d.expires_at, d.escrow_id`

func (s *sqlStore) listDueEscrows(ctx context.Context, now time.Time, after dueEscrow, limit int) ([]dueEscrow, error) {
	var due []dueEscrow
	afterTime := s.timeValue(after.ExpiresAt.Time)
	err := s.db.SelectContext(ctx, &due, dueEscrowsSQL, s.timeValue(now), afterTime, after.ID, limit)
	return due, err
}

// The statements also compare with the database's clock, so that a core whose clock is ahead does
// not delete new keys.
const (
	deleteOldKeysSQL = `DELETE FROM idempotency_keys WHERE (operation, key) IN
		(SELECT operation, key FROM idempotency_keys WHERE created_at < least($1, now() - $2 * interval '1 millisecond') ORDER BY created_at LIMIT $3)
		AND ` + withoutStandby
	deleteOldKeysSQLite = `DELETE FROM idempotency_keys WHERE (operation, key) IN
		(SELECT operation, key FROM idempotency_keys WHERE created_at < min($1, unixepoch('subsec') * 1000 - $2) ORDER BY created_at LIMIT $3)`
)

func (s *sqlStore) deleteOldKeys(ctx context.Context, now time.Time, age time.Duration, limit int) (int64, error) {
	statement := deleteOldKeysSQL
	if s.isSQLite() {
		statement = deleteOldKeysSQLite
	}

	res, err := s.db.ExecContext(ctx, statement, s.timeValue(now.Add(-age)), age.Milliseconds(), limit)
	if err != nil {
		return 0, err
	}

	return res.RowsAffected()
}

// timeValue returns a time in the type of this database's columns.
func (s *sqlStore) timeValue(t time.Time) any {
	if s.isSQLite() {
		return t.UnixMilli()
	}

	return t
}

func convertRows[R, T any](rows []R, convert func(*R) T) []T {
	converted := make([]T, len(rows))
	for i := range rows {
		converted[i] = convert(&rows[i])
	}

	return converted
}
