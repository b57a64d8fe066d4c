package wallet

import (
	"database/sql"
	"fmt"
)

// placedSQL has the place of each transaction in the journal. On SQLite each row of the journal has
// one transaction.
const (
	placedSQL = `SELECT CAST(u.id AS text) AS id, j.position, u.place
		FROM journal j CROSS JOIN LATERAL unnest(j.transactions) WITH ORDINALITY AS u(id, place)`
	placedSQLite = `SELECT transaction_id AS id, position, 1 AS place FROM journal`
)

// auditJournalSQL finds transactions that are missing in the journal or stand in it more than once. It
// also finds ids in the journal that belong to no transaction. The database joins the two tables, on disk if necessary.
func auditJournalSQL(placed string) string {
	return `WITH placed AS (` + placed + `),
		counted AS (SELECT coalesce(id, '') AS id, count(*) AS uses, min(position) AS position FROM placed GROUP BY 1)
		SELECT coalesce(t.id, c.id) AS id, t.id IS NOT NULL AS is_transaction, coalesce(c.uses, 0) AS uses, coalesce(c.position, 0) AS position
		FROM (SELECT CAST(id AS text) AS id FROM transactions) t FULL JOIN counted c ON c.id = t.id
		WHERE t.id IS NULL OR c.id IS NULL OR c.uses > 1 ORDER BY 1`
}

// auditJournalOrderSQL finds the transactions that the journal has before an earlier one of the same
// account. The database sorts the transactions of all accounts, on disk if necessary.
func auditJournalOrderSQL(placed string) string {
	return `WITH placed AS (` + placed + `),
		parties AS (
			SELECT t.user_account AS account, t.user_seq AS seq, p.id, p.position, p.place
				FROM placed p JOIN transactions t ON CAST(t.id AS text) = p.id WHERE t.user_account IS NOT NULL
			UNION ALL SELECT t.model_account, t.model_seq, p.id, p.position, p.place
				FROM placed p JOIN transactions t ON CAST(t.id AS text) = p.id WHERE t.model_account IS NOT NULL),
		ordered AS (
			SELECT account, seq, id, position, place,
				lag(position) OVER w AS before_position, lag(place) OVER w AS before_place
			FROM parties WINDOW w AS (PARTITION BY account ORDER BY seq))
		SELECT account, seq, id FROM ordered
		WHERE position < before_position OR (position = before_position AND place < before_place) ORDER BY account, seq`
}

// emptyRowsSQL finds the rows of the journal without transactions. SQLite cannot have one.
const emptyRowsSQL = `SELECT position FROM journal WHERE size = 0 ORDER BY position`

// checkJournal checks that the journal has each transaction once and nothing else, and that those of
// an account are in the order of its seq.
func (v *verifier) checkJournal() error {
	placed := placedSQL
	if v.isSQLite {
		placed = placedSQLite
	}

	err := v.checkRows(auditJournalSQL(placed), v.addJournalFinding)
	if err != nil {
		return err
	}

	err = v.checkRows(auditJournalOrderSQL(placed), v.addOrderFinding)
	if err != nil || v.isSQLite {
		return err
	}

	return v.checkRows(emptyRowsSQL, v.addEmptyRowFinding)
}

// checkRows calls add for each row of a query.
func (v *verifier) checkRows(query string, add func(*sql.Rows) error) error {
	rows, err := v.tx.QueryContext(v.ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()

	for rows.Next() {
		err := add(rows)
		if err != nil {
			return err
		}
	}

	return rows.Err()
}

func (v *verifier) addJournalFinding(rows *sql.Rows) error {
	var id string
	var isTransaction bool
	var uses, position int64
	err := rows.Scan(&id, &isTransaction, &uses, &position)
	if err != nil {
		return err
	}

	f := Finding{
		Check:         CheckJournal,
		TransactionID: id,
	}
	switch {
	case !isTransaction:
		f.Detail = fmt.Sprintf("the journal has this transaction at position %d, but it does not exist", position)
	case uses == 0:
		f.Detail = "the transaction is not in the journal"
	default:
		f.Detail = fmt.Sprintf("the transaction is in the journal %d times, first at position %d", uses, position)
	}

	v.addFinding(f)
	return nil
}

func (v *verifier) addOrderFinding(rows *sql.Rows) error {
	f := Finding{
		Check:  CheckJournal,
		Detail: "the journal has the transaction before the account's previous one",
	}
	err := rows.Scan(&f.Account, &f.Seq, &f.TransactionID)
	if err != nil {
		return err
	}

	v.addFinding(f)
	return nil
}

func (v *verifier) addEmptyRowFinding(rows *sql.Rows) error {
	var position int64
	err := rows.Scan(&position)
	if err != nil {
		return err
	}

	v.addFinding(Finding{
		Check:  CheckJournal,
		Detail: fmt.Sprintf("the row of the journal at position %d has no transactions", position),
	})
	return nil
}
