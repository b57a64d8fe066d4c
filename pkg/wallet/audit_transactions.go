package wallet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

const transactionsPageSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id > $1 ORDER BY t.id LIMIT $2`

// transactionPage is a page of transactions in the order of their ids.
type transactionPage struct {
	above uuid.UUID // last id of the previous page
	last  uuid.UUID // last id of this page
	txs   []Transaction
	byID  map[uuid.UUID]*Transaction
}

// checkTransactions checks all transactions and their stored entries.
func (v *verifier) checkTransactions() error {
	above := uuid.Nil
	for {
		page, err := v.readTransactionPage(above)
		if err != nil {
			return err
		}

		if len(page.txs) > 0 {
			err := v.checkTransactionPage(page)
			if err != nil {
				return err
			}
		}

		v.report.Transactions += int64(len(page.txs))
		v.reportProgress()
		if len(page.txs) < verifyPageSize {
			return nil
		}

		above = page.last
	}
}

func (v *verifier) readTransactionPage(above uuid.UUID) (*transactionPage, error) {
	var rows []transactionRow
	err := v.tx.SelectContext(v.ctx, &rows, transactionsPageSQL, above, verifyPageSize)
	if err != nil {
		return nil, err
	}

	page := &transactionPage{
		above: above,
		txs:   convertRows(rows, (*transactionRow).toTransaction),
		byID:  make(map[uuid.UUID]*Transaction, len(rows)),
	}

	for i := range page.txs {
		tx := &page.txs[i]
		page.byID[tx.ID] = tx
		page.last = tx.ID
	}

	return page, nil
}

func (v *verifier) checkTransactionPage(page *transactionPage) error {
	sums, err := v.readEntrySums(page)
	if err != nil {
		return err
	}

	for i := range page.txs {
		tx := &page.txs[i]
		v.countEscrowOperation(tx)
		v.checkTransaction(tx)
		v.checkEntrySum(tx, sums[tx.ID])
	}

	return v.checkSystemEntries(page)
}

func (v *verifier) countEscrowOperation(tx *Transaction) {
	switch tx.Operation {
	case OpHold:
		v.holds++
	case OpSettle, OpRefund, OpPartialSettle:
		v.closes++
	}
}

// checkEntrySum checks the number of a transaction's stored entries, and that they sum to zero.
func (v *verifier) checkEntrySum(tx *Transaction, stored entrySum) {
	derived := deriveEntries(tx)
	for i := range derived {
		isSystem := derived[i].State == StateSystem
		if isSystem {
			v.derivedSystem++
			v.report.Entries++
		} else {
			v.derivedLegs++
		}
	}

	total := stored.toBig()
	if total.Sign() != 0 {
		detail := fmt.Sprintf("the entries of the transaction sum to %d", total)
		v.addFinding(Finding{
			Check:         CheckSum,
			TransactionID: tx.ID.String(),
			Detail:        detail,
		})
	}

	if stored.Count != int64(len(derived)) {
		detail := fmt.Sprintf("%d entries are stored; the transaction has %d", stored.Count, len(derived))
		v.addFinding(Finding{
			Check:         CheckEntries,
			TransactionID: tx.ID.String(),
			Detail:        detail,
		})
	}
}

// checkTransaction checks the columns of a transaction that are not part of its entries' hashes.
func (v *verifier) checkTransaction(tx *Transaction) {
	f := Finding{TransactionID: tx.ID.String()}
	if len(tx.Parties) > 0 {
		f.Account = tx.Parties[0].Account
	}

	hasEscrow := tx.EscrowID != uuid.Nil
	if hasEscrow != tx.isEscrowOperation() {
		f.Check = CheckEscrow
		f.Detail = fmt.Sprintf("a %s must have an escrow id", tx.Operation)
		if hasEscrow {
			f.Detail = fmt.Sprintf("a %s must not have an escrow id", tx.Operation)
		}

		v.addFinding(f)
	}

	stored := len(tx.chains)
	if stored != tx.chainCount()*chainSize {
		f.Check = CheckChain
		f.Detail = fmt.Sprintf("the transaction must have %d chains; got %d bytes", tx.chainCount(), stored)
		v.addFinding(f)
	}

	if !tx.hasValidParts() {
		f.Check = CheckEntries
		f.Detail = fmt.Sprintf("a %s of %d points cannot refund %d and settle %d", tx.Operation, tx.Amount, tx.RefundAmount, tx.SettleAmount)
		v.addFinding(f)
	}
}

// hasValidParts reports whether the parts of a partial settlement sum to its amount. In other
// operations the parts must be zero.
func (tx *Transaction) hasValidParts() bool {
	if tx.Operation != OpPartialSettle {
		return tx.RefundAmount == 0 && tx.SettleAmount == 0
	}

	arePositive := tx.RefundAmount >= 1 && tx.SettleAmount >= 1
	rest := tx.Amount - tx.SettleAmount // the sum of damaged amounts could overflow
	return arePositive && tx.RefundAmount == rest
}

const systemEntriesSQL = `SELECT account, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at
	FROM entries WHERE transaction_id > $1 AND transaction_id <= $2 AND seq IS NULL ORDER BY transaction_id`

type systemEntryRow struct {
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

func (r *systemEntryRow) toEntry() Entry {
	return Entry{
		TransactionID: r.ID,
		Place:         r.Place,
		Account:       Account(r.Account),
		State:         BalanceState(r.State),
		Amount:        r.Amount,
		BalanceBefore: r.Before,
		BalanceAfter:  r.After,
		Hash:          r.Hash,
		CreatedAt:     r.CreatedAt.Time,
	}
}

// checkSystemEntries checks the entries of the system accounts. They are part of a page's credits
// and debits, but not of a hash chain.
func (v *verifier) checkSystemEntries(page *transactionPage) error {
	var rows []systemEntryRow
	err := v.tx.SelectContext(v.ctx, &rows, systemEntriesSQL, page.above, page.last)
	if err != nil {
		return err
	}

	for i := range rows {
		e := rows[i].toEntry()
		v.checkSystemEntry(&e, page.byID[e.TransactionID])
	}

	return nil
}

// checkSystemEntry compares an entry of a system account with its transaction. tx is nil if the
// transaction does not exist.
func (v *verifier) checkSystemEntry(e *Entry, tx *Transaction) {
	report := func(c Check, detail string) {
		v.addFinding(Finding{
			Check:         c,
			Account:       e.Account,
			TransactionID: e.TransactionID.String(),
			Detail:        detail,
		})
	}

	if tx == nil {
		report(CheckStray, "the transaction of the entry is missing")
		return
	}

	hash := hashEntry(nil, encodeSummary(tx), e)
	if !bytes.Equal(hash, e.Hash) {
		report(CheckHash, "the entry or its transaction was changed")
	}

	isDerived := slices.ContainsFunc(deriveEntries(tx), func(d Entry) bool {
		return d.Account == e.Account && d.State == e.State && d.Amount == e.Amount && d.Place == e.Place
	})
	if !isDerived || !e.CreatedAt.Equal(tx.CreatedAt) {
		report(CheckEntries, "the entry does not match its transaction")
	}
}

// entrySum is the number and the sum of a transaction's stored entries.
type entrySum struct {
	ID    uuid.UUID `db:"id"`
	Count int64     `db:"n"`
	splitSum
}

const entrySumsSQL = `SELECT id, count(amount) AS n, ` + sumColumns + ` FROM (
		SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.user_account AND e.seq > t.user_seq - 2 AND e.seq <= t.user_seq AND e.transaction_id = t.id
			WHERE t.id > $1 AND t.id <= $2
		UNION ALL SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.model_account AND e.seq = t.model_seq AND e.transaction_id = t.id
			WHERE t.id > $1 AND t.id <= $2
		UNION ALL SELECT e.transaction_id, e.amount FROM entries e WHERE e.transaction_id > $1 AND e.transaction_id <= $2 AND e.seq IS NULL
	) e GROUP BY id`

// readEntrySums returns the sums of a page's stored entries. It finds the entries of the parties by
// (account, seq), and the entries of the system accounts by transaction.
func (v *verifier) readEntrySums(page *transactionPage) (map[uuid.UUID]entrySum, error) {
	var rows []entrySum
	err := v.tx.SelectContext(v.ctx, &rows, entrySumsSQL, page.above, page.last)
	sums := make(map[uuid.UUID]entrySum, len(rows))
	for _, s := range rows {
		sums[s.ID] = s
	}

	return sums, err
}

// deriveEntries returns the entries of a transaction, without hashes and balances before.
func deriveEntries(tx *Transaction) []Entry {
	var entries []Entry
	for i := range tx.Parties {
		p := &tx.Parties[i]
		legs := deriveLegs(tx, p)
		firstSeq := p.Seq - int64(len(legs)-1)
		for j, l := range legs {
			entries = append(entries, Entry{
				TransactionID: tx.ID,
				Place:         len(entries),
				Account:       p.Account,
				State:         l.state,
				Amount:        l.amount,
				BalanceAfter:  p.balanceIn(l.state),
				Seq:           firstSeq + int64(j),
				CreatedAt:     tx.CreatedAt,
			})
		}
	}

	system := Entry{
		TransactionID: tx.ID,
		Place:         len(entries),
		State:         StateSystem,
	}

	switch tx.Operation {
	case OpCredit:
		system.Account = SystemIssuance
		system.Amount = -tx.Amount
		entries = append(entries, system)
	case OpDebit:
		system.Account = SystemPayout
		system.Amount = tx.Amount
		entries = append(entries, system)
	}

	return entries
}
