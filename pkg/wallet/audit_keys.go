package wallet

import (
	"fmt"

	"github.com/google/uuid"
)

// auditKeysSQL finds the idempotency keys that would answer for something else than what they were used for. There are as
// many as a day has operations: they are sorted, on disk if need be, and each one's transaction is looked up by its id,
// not joined, which might go through all transactions.
const auditKeysSQL = `SELECT operation, key, transaction_id, uses, done FROM (
		SELECT operation, key, transaction_id, count(*) OVER (PARTITION BY transaction_id) AS uses,
			coalesce((SELECT t.operation FROM transactions t WHERE t.id = i.transaction_id), '') AS done
		FROM idempotency_keys i) k
	WHERE uses > 1 OR done <> operation ORDER BY transaction_id, operation, key`

// keys checks that each key stands for a transaction of its operation, which no other
// key does. A transaction need not have a key: it is forgotten some time.
func (v *verifier) keys() error {
	rows, err := v.tx.QueryContext(v.ctx, auditKeysSQL)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id uuid.UUID
		var operation, key, done string
		var uses int64
		if err := rows.Scan(&operation, &key, &id, &uses, &done); err != nil {
			return err
		}
		f := Finding{Check: CheckKey, TransactionID: id.String(), Detail: fmt.Sprintf("the key %q of a %s is one of %d for its transaction", key, operation, uses)}
		switch done {
		case operation:
		case "":
			f.Detail = fmt.Sprintf("the key %q of a %s has no transaction", key, operation)
		default:
			f.Detail = fmt.Sprintf("the key %q of a %s has a %s as its transaction", key, operation, done)
		}
		v.find(f)
	}
	return rows.Err()
}
