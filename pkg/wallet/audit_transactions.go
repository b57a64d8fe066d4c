package wallet

import (
	"bytes"
	"fmt"
	"slices"

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
		txs := make(map[uuid.UUID]*Transaction, len(rows))
		for i := range rows {
			tx := rows[i].toTransaction()
			txs[tx.ID] = &tx
			expected, _ := expectedEntries(&tx)
			got := sums[tx.ID]
			switch tx.Operation {
			case OpHold:
				v.holds++
			case OpSettle, OpRefund, OpPartialSettle:
				v.ends++
			}
			v.transaction(&tx)
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
		if err := v.systemEntries(above, rows, txs); err != nil {
			return err
		}
		v.report.Transactions += int64(len(rows))
		v.progress()
		if len(rows) < verifyPage {
			return nil
		}
		above = rows[len(rows)-1].ID
	}
}

// transaction checks what a transaction's row says and no entry's hash covers.
func (v *verifier) transaction(tx *Transaction) {
	f := Finding{TransactionID: tx.ID.String()}
	if len(tx.Parties) > 0 {
		f.Account = tx.Parties[0].Account
	}
	ofEscrow := tx.Operation != OpCredit && tx.Operation != OpDebit
	if ofEscrow != (tx.EscrowID != uuid.Nil) {
		f.Check, f.Detail = CheckEscrow, fmt.Sprintf("a %s has an escrow: %v, must be %v", tx.Operation, !ofEscrow, ofEscrow)
		v.find(f)
	}
	refund, settle := tx.RefundAmount, tx.SettleAmount
	right := refund == 0 && settle == 0
	if tx.Operation == OpPartialSettle {
		right = refund >= 1 && settle >= 1 && refund == tx.Amount-settle
	}
	if !right {
		f.Check, f.Detail = CheckEntries, fmt.Sprintf("a %s of %d cannot be refunded by %d and settled by %d", tx.Operation, tx.Amount, refund, settle)
		v.find(f)
	}
}

// systemEntries checks the other side of credits and debits of a page of
// transactions, which is in no account's chain.
func (v *verifier) systemEntries(above uuid.UUID, page []transactionRow, txs map[uuid.UUID]*Transaction) error {
	if len(page) == 0 {
		return nil
	}
	var rows []struct {
		Account   string    `db:"account"`
		ID        uuid.UUID `db:"transaction_id"`
		Place     int       `db:"place"`
		State     string    `db:"state"`
		Amount    int64     `db:"amount"`
		Before    int64     `db:"balance_before"`
		After     int64     `db:"balance_after"`
		Hash      []byte    `db:"hash"`
		CreatedAt dbTime    `db:"created_at"`
	}
	err := v.tx.SelectContext(v.ctx, &rows, `SELECT account, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at
		FROM entries WHERE transaction_id > $1 AND transaction_id <= $2 AND seq IS NULL ORDER BY transaction_id`, above, page[len(page)-1].ID)
	if err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		f := Finding{Account: Account(r.Account), TransactionID: r.ID.String()}
		tx := txs[r.ID]
		if tx == nil {
			f.Check, f.Detail = CheckStray, "its transaction is missing"
			v.find(f)
			continue
		}
		e := Entry{
			TransactionID: r.ID, Place: r.Place, Account: Account(r.Account), State: BalanceState(r.State), Amount: r.Amount,
			BalanceBefore: r.Before, BalanceAfter: r.After,
		}
		if !bytes.Equal(entryHash(nil, summarize(tx), &e), r.Hash) {
			f.Check, f.Detail = CheckHash, "the entry or its transaction was changed"
			v.find(f)
		}
		expected, _ := expectedEntries(tx)
		follows := slices.ContainsFunc(expected, func(x Entry) bool {
			return x.Account == e.Account && x.State == e.State && x.Amount == e.Amount && x.Place == e.Place
		})
		if !follows || !r.CreatedAt.Equal(tx.CreatedAt) {
			f.Check, f.Detail = CheckEntries, "does not follow from its transaction"
			v.find(f)
		}
	}
	return nil
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

const entriesWithoutAccount = `SELECT account, CAST(NULL AS uuid) AS id FROM entries e
	WHERE seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM wallets w WHERE w.account = e.account) GROUP BY account ORDER BY account`

// totals closes the books.
func (v *verifier) totals(t *Totals) error {
	var rows []struct {
		Account string `db:"account"`
		Count   int64  `db:"n"`
		sum
	}
	err := v.tx.SelectContext(v.ctx, &rows, `SELECT account, count(*) AS n, `+sumColumns+` FROM entries WHERE seq IS NULL GROUP BY account`)
	if err != nil {
		return err
	}
	ofAccounts := v.stored
	for _, r := range rows {
		ofAccounts -= r.Count
		switch Account(r.Account) {
		case SystemIssuance:
			t.Issued.Neg(r.big())
		case SystemPayout:
			t.PaidOut = r.big()
		default:
			v.find(Finding{Check: CheckStray, Account: Account(r.Account), Detail: "entries without a seq on an account that is not the system's"})
		}
	}
	if ofAccounts != v.walked {
		if err := v.findRows(entriesWithoutAccount, Finding{Check: CheckBalance, Detail: "has entries and no balance"}); err != nil {
			return err
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
		legs := legsOf(tx, p)
		balances := wallet{Available: p.Available, Escrow: p.Escrow, Earned: p.Earned}
		for j, l := range legs {
			out = append(out, Entry{
				TransactionID: tx.ID, Place: len(out), Account: p.Account, State: l.state, Amount: l.amount,
				BalanceAfter: *balances.balanceOf(l.state), Seq: p.Seq - int64(len(legs)-1-j), CreatedAt: tx.CreatedAt,
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
