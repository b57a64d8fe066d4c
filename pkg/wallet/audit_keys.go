package wallet

import (
	"fmt"

	"github.com/google/uuid"
)

// auditKeysSQL finds the idempotency keys that do not refer to a transaction of their operation,
// and the keys that refer to the same transaction. The table has about as many keys as a day has
// operations. The query sorts them, on disk if necessary, and looks up each transaction by its id.
// A join could read all transactions.
const auditKeysSQL = `SELECT operation, key, transaction_id, uses, done FROM (
		SELECT operation, key, transaction_id, count(*) OVER (PARTITION BY transaction_id) AS uses,
			coalesce((SELECT t.operation FROM transactions t WHERE t.id = i.transaction_id), '') AS done
		FROM idempotency_keys i) k
	WHERE uses > 1 OR done <> operation ORDER BY transaction_id, operation, key`

// auditKey is an idempotency key with its transaction.
type auditKey struct {
	operation   string
	key         string
	transaction uuid.UUID
	uses        int64  // number of keys that refer to the transaction
	done        string // operation of the transaction; empty if the transaction does not exist
}

// checkKeys checks that each key refers to a transaction of its operation, and that no other key
// refers to this transaction. A transaction may have no key, because old keys are deleted.
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
		return fmt.Sprintf("the key %q of a %s is one of %d keys of its transaction", k.key, k.operation, k.uses)
	case "":
		return fmt.Sprintf("the transaction of the key %q of a %s does not exist", k.key, k.operation)
	default:
		return fmt.Sprintf("the transaction of the key %q of a %s is a %s", k.key, k.operation, k.done)
	}
}
