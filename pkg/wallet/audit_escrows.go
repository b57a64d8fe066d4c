package wallet

import (
	"fmt"
	"math/big"

	"github.com/google/uuid"
)

// auditEscrowsSQL compares a user's escrows with the transactions that held and
// ended them, and with the list of those that are to expire.
const auditEscrowsSQL = `SELECT x.id, x.amount, x.status, x.held_by, x.closed_by, x.expires_at,
		coalesce(h.operation = 'hold' AND h.escrow_id = x.id AND h.user_account = x.user_account AND h.amount = x.amount AND h.reason = x.reason
			AND h.queue_item_id = x.queue_item_id AND h.feature_type = x.feature_type AND h.created_at = x.created_at, false) AS held,
		coalesce(CASE WHEN x.status = 'held' THEN x.closed_by IS NULL AND x.closed_at IS NULL AND x.model_account IS NULL AND x.refund_amount = 0 AND x.settle_amount = 0
			ELSE c.escrow_id = x.id AND c.user_account = x.user_account AND c.amount = x.amount AND c.created_at = x.closed_at
				AND coalesce(c.model_account, '') = coalesce(x.model_account, '') AND CASE c.operation
					WHEN 'settle' THEN x.status = 'settled' AND x.refund_amount = 0 AND x.settle_amount = x.amount
					WHEN 'refund' THEN x.status = 'refunded' AND x.refund_amount = x.amount AND x.settle_amount = 0
					WHEN 'partial_settle' THEN x.status = 'partially_settled' AND x.refund_amount = c.refund_amount AND x.settle_amount = c.settle_amount
					ELSE false END
			END, false) AS ended,
		EXISTS (SELECT 1 FROM escrow_expiries d WHERE d.expires_at = x.expires_at AND d.escrow_id = x.id) AS listed
	FROM (SELECT ` + escrowColumns + ` FROM escrows WHERE user_account = $1 AND id > $2 ORDER BY id LIMIT $3) x
	LEFT JOIN transactions h ON h.id = x.held_by LEFT JOIN transactions c ON c.id = x.closed_by ORDER BY x.id`

// escrows checks a user's escrows, and that the held ones are the escrow balance.
func (v *verifier) escrows(w *wallet) error {
	if !w.Account.IsUser() {
		return nil
	}
	total := new(big.Int)
	for above := uuid.Nil; ; {
		var rows []struct {
			ID        uuid.UUID     `db:"id"`
			Amount    int64         `db:"amount"`
			Status    string        `db:"status"`
			HeldBy    uuid.UUID     `db:"held_by"`
			ClosedBy  uuid.NullUUID `db:"closed_by"`
			ExpiresAt dbTime        `db:"expires_at"`
			Held      bool          `db:"held"`   // as its hold says
			Ended     bool          `db:"ended"`  // or not, as its end says
			Listed    bool          `db:"listed"` // as one that is to expire
		}
		if err := v.tx.SelectContext(v.ctx, &rows, auditEscrowsSQL, string(w.Account), above, verifyPage); err != nil {
			return err
		}
		for _, r := range rows {
			report := func(tx uuid.UUID, detail string) {
				v.find(Finding{Check: CheckEscrow, Account: w.Account, TransactionID: tx.String(), Detail: fmt.Sprintf("escrow %s %s", r.ID, detail)})
			}
			held := r.Status == string(StatusHeld)
			if held {
				add(total, r.Amount)
			} else {
				v.escrowsEnded++
			}
			if !r.Held {
				report(r.HeldBy, "is not what its hold made")
			}
			if !r.Ended {
				report(r.ClosedBy.UUID, "has not ended as its transaction says")
			}
			if expires := held && !r.ExpiresAt.IsZero(); expires != r.Listed {
				report(r.HeldBy, "is to expire and not on the list, or the other way round")
			} else if expires {
				v.expiries++
			}
		}
		v.escrowsSeen += int64(len(rows))
		if len(rows) < verifyPage {
			break
		}
		above = rows[len(rows)-1].ID
	}
	if total.Cmp(big.NewInt(w.Escrow)) != 0 {
		v.find(Finding{Check: CheckEscrow, Account: w.Account, Detail: fmt.Sprintf("held escrows sum to %d, the escrow balance is %d", total, w.Escrow)})
	}
	return nil
}

// escrowsWithoutUser and endsWithoutEscrow name the rows that counts say there must be.
const (
	escrowsWithoutUser = `SELECT user_account AS account, held_by AS id FROM escrows x
		WHERE NOT EXISTS (SELECT 1 FROM wallets w WHERE w.account = x.user_account) ORDER BY x.id`
	transactionsWithoutEscrow = `SELECT coalesce(t.user_account, '') AS account, t.id FROM transactions t LEFT JOIN escrows x ON x.id = t.escrow_id
		WHERE t.operation = 'hold' AND coalesce(x.held_by <> t.id, true)
			OR t.operation IN ('settle', 'refund', 'partial_settle') AND coalesce(x.closed_by <> t.id, true) ORDER BY t.id`
)

// escrowCounts checks that there are no other escrows than those of accounts, and
// one for each transaction that held or ended one.
func (v *verifier) escrowCounts() error {
	var stored struct {
		Escrows  int64 `db:"escrows"`
		Expiries int64 `db:"expiries"`
	}
	err := v.tx.GetContext(v.ctx, &stored, `SELECT (SELECT count(*) FROM escrows) AS escrows, (SELECT count(*) FROM escrow_expiries) AS expiries`)
	if err != nil {
		return err
	}
	if stored.Escrows != v.escrowsSeen {
		if err := v.findRows(escrowsWithoutUser, Finding{Check: CheckEscrow, Detail: "an escrow of an account that does not exist"}); err != nil {
			return err
		}
	}
	if v.holds != v.escrowsSeen || v.ends != v.escrowsEnded {
		if err := v.findRows(transactionsWithoutEscrow, Finding{Check: CheckEscrow, Detail: "no escrow says that this transaction held or ended it"}); err != nil {
			return err
		}
	}
	if stored.Expiries != v.expiries {
		v.find(Finding{Check: CheckEscrow, Detail: fmt.Sprintf("%d escrows are listed as to expire, %d are held until a time", stored.Expiries, v.expiries)})
	}
	return nil
}

// findRows finds the same of each row of a query.
func (v *verifier) findRows(query string, f Finding) error {
	rows, err := v.tx.QueryContext(v.ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id uuid.NullUUID
		if err := rows.Scan((*string)(&f.Account), &id); err != nil {
			return err
		}
		if id.Valid {
			f.TransactionID = id.UUID.String()
		}
		v.find(f)
	}
	return rows.Err()
}
