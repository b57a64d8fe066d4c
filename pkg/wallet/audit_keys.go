package wallet

import (
	"fmt"

	"github.com/google/uuid"
)

// auditKeysSQL finds the idempotency keys that do not name a transaction of their operation, or
// share one. There are as many keys as a day has operations. They are sorted, on disk if necessary,
// and each one's transaction is looked up by its id. A join might read all transactions.
const auditKeysSQL = `SELECT operation, key, transaction_id, uses, done FROM (
		SELECT operation, key, transaction_id, count(*) OVER (PARTITION BY transaction_id) AS uses,
			coalesce((SELECT t.operation FROM transactions t WHERE t.id = i.transaction_id), '') AS done
		FROM idempotency_keys i) k
	WHERE uses > 1 OR done <> operation ORDER BY transaction_id, operation, key`

// auditKey is a key with its transaction's operation; empty: the transaction does not exist.
type auditKey struct {
	operation   string
	key         string
	transaction uuid.UUID
	uses        int64 // how many keys name the transaction
	done        string
}

// checkKeys checks that each key names a transaction of its operation, and that no other key does.
// A transaction need not have a key, since old keys are deleted.
func (v *verifier) checkKeys() error {
	rows, err := v.tx.QueryContext(v.ctx, auditKeysSQL)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var k auditKey
		err := rows.Scan(&k.operation, &k.key, &k.transaction, &k.uses, &k.done)
		if err != nil {
			return err
		}

		v.addFinding(Finding{
			Check:         CheckKey,
			TransactionID: k.transaction.String(),
			Detail:        k.describeProblem(),
		})
	}

	return rows.Err()
}

func (k *auditKey) describeProblem() string {
	switch k.done {
	case k.operation:
		return fmt.Sprintf("the key %q of a %s is one of %d for its transaction", k.key, k.operation, k.uses)
	case "":
		return fmt.Sprintf("the key %q of a %s has no transaction", k.key, k.operation)
	default:
		return fmt.Sprintf("the key %q of a %s has a %s as its transaction", k.key, k.operation, k.done)
	}
}
