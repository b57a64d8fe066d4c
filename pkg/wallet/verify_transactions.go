package wallet

import (
	"fmt"

	"github.com/google/uuid"
)

// transactions checks each transaction's entries as they are stored.
func (v *verifier) transactions() error {
	for above := uuid.Nil; ; {
		var rows []transactionRow
		err := v.tx.SelectContext(v.ctx, &rows, `SELECT `+transactionColumns+` FROM transactions t WHERE t.id > $1 ORDER BY t.id LIMIT $2`, above, verifyPage)
		if err != nil {
			return err
		}
		sums, err := v.storedSums(above, rows)
		if err != nil {
			return err
		}
		for i := range rows {
			tx := rows[i].transaction()
			expected, _ := expectedEntries(&tx)
			got := sums[tx.ID]
			for _, e := range expected {
				if e.State == StateSystem {
					v.systems++
					v.report.Entries++
				} else {
					v.legs++
				}
			}
			if total := got.big(); total.Sign() != 0 {
				v.find(Finding{Check: CheckSum, TransactionID: tx.ID.String(), Detail: fmt.Sprintf("its entries sum to %d", total)})
			}
			if got.Count != int64(len(expected)) {
				v.find(Finding{Check: CheckEntries, TransactionID: tx.ID.String(), Detail: fmt.Sprintf("%d entries are stored, %d follow from it", got.Count, len(expected))})
			}
		}
		v.report.Transactions += int64(len(rows))
		v.progress()
		if len(rows) < verifyPage {
			return nil
		}
		above = rows[len(rows)-1].ID
	}
}

type storedSum struct {
	ID    uuid.UUID `db:"id"`
	Count int64     `db:"n"`
	sum
}

// storedSums adds up the entries of a page of transactions. Parties' entries are
// found by (account, seq), system accounts' by transaction.
func (v *verifier) storedSums(above uuid.UUID, rows []transactionRow) (map[uuid.UUID]storedSum, error) {
	out := make(map[uuid.UUID]storedSum, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	var sums []storedSum
	err := v.tx.SelectContext(v.ctx, &sums, `SELECT id, count(amount) AS n, `+sumColumns+` FROM (
			SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.user_account AND e.seq > t.user_seq - 2 AND e.seq <= t.user_seq AND e.transaction_id = t.id
				WHERE t.id > $1 AND t.id <= $2
			UNION ALL SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.model_account AND e.seq = t.model_seq AND e.transaction_id = t.id
				WHERE t.id > $1 AND t.id <= $2
			UNION ALL SELECT e.transaction_id, e.amount FROM entries e WHERE e.transaction_id > $1 AND e.transaction_id <= $2 AND e.seq IS NULL
		) e GROUP BY id`, above, rows[len(rows)-1].ID)
	for _, s := range sums {
		out[s.ID] = s
	}
	return out, err
}

// totals closes the books.
func (v *verifier) totals(t *Totals) error {
	var rows []struct {
		Account string `db:"account"`
		sum
	}
	err := v.tx.SelectContext(v.ctx, &rows, `SELECT account, `+sumColumns+` FROM entries WHERE seq IS NULL GROUP BY account`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		switch Account(r.Account) {
		case SystemIssuance:
			t.Issued.Neg(r.big())
		case SystemPayout:
			t.PaidOut = r.big()
		default:
			v.find(Finding{Check: CheckStray, Account: Account(r.Account), Detail: "entries without a seq on an account that is not the system's"})
		}
	}
	v.report.Totals = t
	if !t.Balanced() {
		v.find(Finding{Check: CheckTotal, Detail: fmt.Sprintf("issued %d is not %d paid out + %d available + %d in escrow + %d earned",
			t.Issued, t.PaidOut, t.Available, t.Escrow, t.Earned)})
	}
	return nil
}

// expectedEntries derives a transaction's entries from its row, and tells
// whether the operation has an event of its own. Hashes are left out.
func expectedEntries(tx *Transaction) ([]Entry, bool) {
	own := tx.Operation != OpCredit && tx.Operation != OpDebit
	var out []Entry
	for i := range tx.Parties {
		p := &tx.Parties[i]
		legs := legs(tx, p)
		balances := wallet{Available: p.Available, Escrow: p.Escrow, Earned: p.Earned}
		for j, l := range legs {
			out = append(out, Entry{
				TransactionID: tx.ID, Place: len(out), Account: p.Account, State: l.state, Amount: l.amount,
				BalanceAfter: *balances.field(l.state), Seq: p.Seq - int64(len(legs)-1-j), CreatedAt: tx.CreatedAt,
			})
		}
	}
	switch tx.Operation {
	case OpCredit:
		out = append(out, Entry{TransactionID: tx.ID, Place: len(out), Account: SystemIssuance, State: StateSystem, Amount: -tx.Amount})
	case OpDebit:
		out = append(out, Entry{TransactionID: tx.ID, Place: len(out), Account: SystemPayout, State: StateSystem, Amount: tx.Amount})
	}
	return out, own
}
