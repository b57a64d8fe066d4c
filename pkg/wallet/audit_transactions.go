package wallet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

const transactionsPageSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id > $1 ORDER BY t.id LIMIT $2`

// transactionPage is a page of transactions in order of their ids.
type transactionPage struct {
	above uuid.UUID // all ids are above it
	last  uuid.UUID
	txs   []Transaction
	byID  map[uuid.UUID]*Transaction
}

// checkTransactions checks each transaction and its stored entries.
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

// checkEntrySum compares a transaction's stored entries with those that follow from it, by their
// number, and checks that they sum to zero.
func (v *verifier) checkEntrySum(tx *Transaction, stored entrySum) {
	derived := deriveEntries(tx)
	for i := range derived {
		if derived[i].State == StateSystem {
			v.derivedSystem++
			v.report.Entries++
		} else {
			v.derivedLegs++
		}
	}

	total := stored.toBig()
	if total.Sign() != 0 {
		detail := fmt.Sprintf("its entries sum to %d", total)
		v.addFinding(Finding{
			Check:         CheckSum,
			TransactionID: tx.ID.String(),
			Detail:        detail,
		})
	}

	if stored.Count != int64(len(derived)) {
		detail := fmt.Sprintf("%d entries are stored, %d follow from it", stored.Count, len(derived))
		v.addFinding(Finding{
			Check:         CheckEntries,
			TransactionID: tx.ID.String(),
			Detail:        detail,
		})
	}
}

// checkTransaction checks those columns of a transaction that no entry's hash covers.
func (v *verifier) checkTransaction(tx *Transaction) {
	f := Finding{TransactionID: tx.ID.String()}
	if len(tx.Parties) > 0 {
		f.Account = tx.Parties[0].Account
	}

	hasEscrow := tx.EscrowID != uuid.Nil
	if hasEscrow != tx.isEscrowOperation() {
		f.Check = CheckEscrow
		f.Detail = fmt.Sprintf("a %s has an escrow: %v, must be %v", tx.Operation, hasEscrow, tx.isEscrowOperation())
		v.addFinding(f)
	}

	if !tx.hasValidParts() {
		f.Check = CheckEntries
		f.Detail = fmt.Sprintf("a %s of %d cannot be refunded by %d and settled by %d", tx.Operation, tx.Amount, tx.RefundAmount, tx.SettleAmount)
		v.addFinding(f)
	}
}

// hasValidParts reports whether the parts are those of a partial settlement, or zero.
func (tx *Transaction) hasValidParts() bool {
	if tx.Operation != OpPartialSettle {
		return tx.RefundAmount == 0 && tx.SettleAmount == 0
	}
	// A subtraction, since the sum of damaged amounts might overflow.
	return tx.RefundAmount >= 1 && tx.SettleAmount >= 1 && tx.RefundAmount == tx.Amount-tx.SettleAmount
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

// checkSystemEntries checks the other side of a page's credits and debits, which is in no account's
// chain.
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

// checkSystemEntry takes nil for a transaction that does not exist.
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
		report(CheckStray, "its transaction is missing")
		return
	}

	if !bytes.Equal(hashEntry(nil, encodeSummary(tx), e), e.Hash) {
		report(CheckHash, "the entry or its transaction was changed")
	}

	follows := slices.ContainsFunc(deriveEntries(tx), func(d Entry) bool {
		return d.Account == e.Account && d.State == e.State && d.Amount == e.Amount && d.Place == e.Place
	})
	if !follows || !e.CreatedAt.Equal(tx.CreatedAt) {
		report(CheckEntries, "does not follow from its transaction")
	}
}

// entrySum is how many entries of a transaction are stored, and their sum.
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

// readEntrySums finds the parties' entries by (account, seq), and the system accounts' by
// transaction.
func (v *verifier) readEntrySums(page *transactionPage) (map[uuid.UUID]entrySum, error) {
	var rows []entrySum
	err := v.tx.SelectContext(v.ctx, &rows, entrySumsSQL, page.above, page.last)
	sums := make(map[uuid.UUID]entrySum, len(rows))
	for _, s := range rows {
		sums[s.ID] = s
	}
	return sums, err
}

const entriesWithoutAccount = `SELECT account, CAST(NULL AS uuid) AS id FROM entries e
	WHERE seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM wallets w WHERE w.account = e.account) GROUP BY account ORDER BY account`

const systemTotalsSQL = `SELECT account, count(*) AS n, ` + sumColumns + ` FROM entries WHERE seq IS NULL GROUP BY account`

// checkTotals adds the system accounts' sums to the totals and compares both sides.
func (v *verifier) checkTotals(t *Totals) error {
	var rows []struct {
		Account string `db:"account"`
		Count   int64  `db:"n"`
		splitSum
	}

	err := v.tx.SelectContext(v.ctx, &rows, systemTotalsSQL)
	if err != nil {
		return err
	}

	partyEntries := v.storedEntries
	for _, r := range rows {
		partyEntries -= r.Count
		switch Account(r.Account) {
		case SystemIssuance:
			t.Issued.Neg(r.toBig())
		case SystemPayout:
			t.PaidOut = r.toBig()
		default:
			v.addFinding(Finding{
				Check:   CheckStray,
				Account: Account(r.Account),
				Detail:  "entries without a seq on an account that is not the system's",
			})
		}
	}

	if partyEntries != v.accountEntries {
		err := v.addRowFindings(entriesWithoutAccount, Finding{Check: CheckBalance, Detail: "has entries and no balance"})
		if err != nil {
			return err
		}
	}

	v.report.Totals = t
	if !t.Balanced() {
		detail := fmt.Sprintf("issued %d is not %d paid out + %d available + %d in escrow + %d earned",
			t.Issued, t.PaidOut, t.Available, t.Escrow, t.Earned)
		v.addFinding(Finding{Check: CheckTotal, Detail: detail})
	}

	return nil
}

// deriveEntries returns the entries that follow from a transaction, without hashes.
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
