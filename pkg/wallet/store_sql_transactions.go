package wallet

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

const transactionColumns = `t.id, t.operation, t.amount, t.refund_amount, t.settle_amount, t.reason, t.escrow_id,
	t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata, t.user_account, t.user_seq,
	t.user_available, t.user_escrow, t.model_account, t.model_seq, t.model_earned, t.created_at, t.chains`

type transactionRow struct {
	ID            uuid.UUID     `db:"id"`
	Operation     string        `db:"operation"`
	Amount        int64         `db:"amount"`
	RefundAmount  int64         `db:"refund_amount"`
	SettleAmount  int64         `db:"settle_amount"`
	Reason        string        `db:"reason"`
	EscrowID      uuid.NullUUID `db:"escrow_id"`
	QueueItemID   dbText        `db:"queue_item_id"`
	FeatureType   dbText        `db:"feature_type"`
	CorrelationID dbText        `db:"correlation_id"`
	RequestID     dbText        `db:"request_id"`
	Metadata      dbText        `db:"metadata"`
	User          dbText        `db:"user_account"`
	UserSeq       dbNumber      `db:"user_seq"`
	UserAvailable dbNumber      `db:"user_available"`
	UserEscrow    dbNumber      `db:"user_escrow"`
	Model         dbText        `db:"model_account"`
	ModelSeq      dbNumber      `db:"model_seq"`
	ModelEarned   dbNumber      `db:"model_earned"`
	CreatedAt     dbTime        `db:"created_at"`
	Chains        []byte        `db:"chains"`
}

func (r *transactionRow) toTransaction() Transaction {
	t := Transaction{
		ID:            r.ID,
		Operation:     Operation(r.Operation),
		Amount:        r.Amount,
		RefundAmount:  r.RefundAmount,
		SettleAmount:  r.SettleAmount,
		Reason:        r.Reason,
		EscrowID:      r.EscrowID.UUID,
		QueueItemID:   string(r.QueueItemID),
		FeatureType:   string(r.FeatureType),
		CorrelationID: string(r.CorrelationID),
		RequestID:     string(r.RequestID),
		CreatedAt:     r.CreatedAt.Time,
		chains:        r.Chains,
	}

	if r.Metadata != "" {
		t.Metadata = []byte(r.Metadata)
	}

	if r.User != "" {
		t.Parties = append(t.Parties, Party{
			Account:   Account(r.User),
			Seq:       int64(r.UserSeq),
			Available: int64(r.UserAvailable),
			Escrow:    int64(r.UserEscrow),
		})
	}

	if r.Model != "" {
		t.Parties = append(t.Parties, Party{
			Account: Account(r.Model),
			Seq:     int64(r.ModelSeq),
			Earned:  int64(r.ModelEarned),
		})
	}

	t.setPartyChains()
	return t
}

const transactionSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id = $1`

// readTransaction returns a transaction without its entries, or ErrTransactionNotFound.
func (s *sqlStore) readTransaction(ctx context.Context, id uuid.UUID) (*Transaction, error) {
	var r transactionRow
	err := s.db.GetContext(ctx, &r, transactionSQL, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrTransactionNotFound
	}

	if err != nil {
		return nil, err
	}

	tx := r.toTransaction()
	return &tx, nil
}

const transactionsAfterSQL = `SELECT ` + transactionColumns + ` FROM
		(SELECT transaction_id, min(seq) AS first FROM
			(SELECT transaction_id, seq FROM entries WHERE account = $1 AND seq > $2 ORDER BY seq LIMIT $3) e
			GROUP BY transaction_id) f
		JOIN transactions t ON t.id = f.transaction_id ORDER BY f.first`

// listTransactionsAfter returns the transactions of the account's first limit entries with a seq
// greater than after, oldest first.
func (s *sqlStore) listTransactionsAfter(ctx context.Context, a Account, after int64, limit int) ([]Transaction, error) {
	var rows []transactionRow
	err := s.db.SelectContext(ctx, &rows, transactionsAfterSQL, string(a), after, limit)
	return convertRows(rows, (*transactionRow).toTransaction), err
}

// changedSinceSQL returns the number of transactions of the page and their last id in each row. It
// reads the wallets one by one, in the order of the page. CROSS JOIN makes SQLite keep this order.
const changedSinceSQL = `WITH page AS (SELECT id, user_account, model_account FROM transactions WHERE id >= $1 AND id > $2 ORDER BY id LIMIT $3)
	SELECT w.account, w.seq, w.hash, (SELECT count(*) FROM page) AS looked, (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last
	FROM (SELECT user_account AS account FROM page UNION SELECT model_account FROM page) a CROSS JOIN wallets w
	WHERE w.account = a.account`

func (s *sqlStore) listChangedSince(
	ctx context.Context, from, after uuid.UUID, limit int,
) (accounts []bus.Position, last uuid.UUID, err error) {
	var rows []struct {
		positionRow
		Looked int       `db:"looked"`
		Last   uuid.UUID `db:"last"`
	}

	err = s.db.SelectContext(ctx, &rows, changedSinceSQL, from, after, limit)
	accounts = make([]bus.Position, len(rows))
	for i := range rows {
		r := &rows[i]
		accounts[i] = r.toPosition()
		pageIsFull := r.Looked == limit
		if pageIsFull {
			last = r.Last
		}
	}

	return accounts, last, err
}
