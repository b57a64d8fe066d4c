package wallet

import (
	"fmt"
	"math/big"

	"github.com/google/uuid"
)

// auditEscrowsSQL compares a user's escrows with the transactions that opened and closed them, and
// with the table escrow_expiries.
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

type auditEscrowRow struct {
	ID        uuid.UUID     `db:"id"`
	Amount    int64         `db:"amount"`
	Status    string        `db:"status"`
	HeldBy    uuid.UUID     `db:"held_by"`
	ClosedBy  uuid.NullUUID `db:"closed_by"`
	ExpiresAt dbTime        `db:"expires_at"`
	Held      bool          `db:"held"`   // whether the escrow matches its hold
	Closed    bool          `db:"ended"`  // whether the escrow matches the transaction that closed it, if any
	Listed    bool          `db:"listed"` // whether the escrow is in escrow_expiries
}

func (r *auditEscrowRow) isHeld() bool { return r.Status == string(StatusHeld) }

// checkEscrows checks a user's escrows. It also checks that the held escrows sum to the escrow
// balance.
func (v *verifier) checkEscrows(w *wallet) error {
	if !w.Account.IsUser() {
		return nil
	}

	held := new(big.Int)
	above := uuid.Nil
	for {
		var rows []auditEscrowRow
		err := v.tx.SelectContext(v.ctx, &rows, auditEscrowsSQL, string(w.Account), above, verifyPageSize)
		if err != nil {
			return err
		}

		for i := range rows {
			v.checkEscrow(w.Account, &rows[i])
			if rows[i].isHeld() {
				addTo(held, rows[i].Amount)
			}
		}

		v.escrowsSeen += int64(len(rows))
		if len(rows) < verifyPageSize {
			break
		}

		above = rows[len(rows)-1].ID
	}

	if held.Cmp(big.NewInt(w.Escrow)) != 0 {
		detail := fmt.Sprintf("the held escrows sum to %d; the escrow balance is %d", held, w.Escrow)
		v.addFinding(Finding{
			Check:   CheckEscrow,
			Account: w.Account,
			Detail:  detail,
		})
	}

	return nil
}

// checkEscrow checks one escrow of an account.
func (v *verifier) checkEscrow(a Account, r *auditEscrowRow) {
	report := func(tx uuid.UUID, detail string) {
		detail = fmt.Sprintf("escrow %s %s", r.ID, detail)
		v.addFinding(Finding{
			Check:         CheckEscrow,
			Account:       a,
			TransactionID: tx.String(),
			Detail:        detail,
		})
	}

	if !r.isHeld() {
		v.escrowsClosed++
	}

	if !r.Held {
		report(r.HeldBy, "does not match its hold")
	}

	if !r.Closed {
		report(r.ClosedBy.UUID, "does not match the transaction that closed it")
	}

	expires := r.isHeld() && !r.ExpiresAt.IsZero()
	switch {
	case expires && r.Listed:
		v.expiriesSeen++
	case expires:
		report(r.HeldBy, "expires but is not in escrow_expiries")
	case r.Listed:
		report(r.HeldBy, "is in escrow_expiries but is closed or has no expiry")
	}
}

// The queries that find the rows for which checkEscrowCounts reports a finding.
const (
	escrowsWithoutUser = `SELECT user_account AS account, held_by AS id FROM escrows x
		WHERE NOT EXISTS (SELECT 1 FROM wallets w WHERE w.account = x.user_account) ORDER BY x.id`
	transactionsWithoutEscrow = `SELECT coalesce(t.user_account, '') AS account, t.id FROM transactions t LEFT JOIN escrows x ON x.id = t.escrow_id
		WHERE t.operation = 'hold' AND coalesce(x.held_by <> t.id, true)
			OR t.operation IN ('settle', 'refund', 'partial_settle') AND coalesce(x.closed_by <> t.id, true) ORDER BY t.id`
)

// checkEscrowCounts checks that every escrow belongs to an account, and that every transaction that
// opened or closed an escrow has its escrow.
func (v *verifier) checkEscrowCounts() error {
	var stored struct {
		Escrows  int64 `db:"escrows"`
		Expiries int64 `db:"expiries"`
	}

	err := v.tx.GetContext(v.ctx, &stored, `SELECT (SELECT count(*) FROM escrows) AS escrows, (SELECT count(*) FROM escrow_expiries) AS expiries`)
	if err != nil {
		return err
	}

	if stored.Escrows != v.escrowsSeen {
		err := v.addRowFindings(escrowsWithoutUser, Finding{
			Check:  CheckEscrow,
			Detail: "the account of the escrow does not exist",
		})
		if err != nil {
			return err
		}
	}

	if v.holds != v.escrowsSeen || v.closes != v.escrowsClosed {
		err := v.addRowFindings(transactionsWithoutEscrow, Finding{
			Check:  CheckEscrow,
			Detail: "the transaction opened or closed an escrow, but no escrow refers to it",
		})
		if err != nil {
			return err
		}
	}

	if stored.Expiries != v.expiriesSeen {
		detail := fmt.Sprintf("escrow_expiries has %d escrows; %d of them are held and expire", stored.Expiries, v.expiriesSeen)
		v.addFinding(Finding{
			Check:  CheckEscrow,
			Detail: detail,
		})
	}

	return nil
}

// addRowFindings adds the finding for each row of the query. A row has an account and a transaction
// id.
func (v *verifier) addRowFindings(query string, f Finding) error {
	rows, err := v.tx.QueryContext(v.ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()

	for rows.Next() {
		var id uuid.NullUUID
		err := rows.Scan((*string)(&f.Account), &id)
		if err != nil {
			return err
		}

		if id.Valid {
			f.TransactionID = id.UUID.String()
		}

		v.addFinding(f)
	}

	return rows.Err()
}
