package wallet

import (
	"context"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// emptyCommits commits the transactions of proofs on a connection of their own.
type emptyCommits struct {
	store     sqlStore
	statement string      // names this process, so that its sessions can be found
	isLost    atomic.Bool // the session of the last statement may still wait for the standby
}

// proofLimit bounds one proof. Its callers wait for at most proofTimeout. The rest of the time makes it
// more probable that the standby is back, before another proof must begin.
const proofLimit = 2 * proofTimeout

func (s *postgresStore) openProofs(target *pgconn.Target) {
	connector := s.newConnector(target, map[string]string{"application_name": "realtime-core-proofs"})
	connector.Role = pgconn.Primary // a read-only one can also commit a message
	connector.RoundTrip = proofLimit
	connector.IsProbe = true
	s.emptyCommits.store = sqlStore{db: openPool(connector, 1)}
	s.emptyCommits.statement = `SELECT pg_logical_emit_message(true, 'realtime', '` + uuid.NewString() + `')`
	s.proofs = newProofs(s.emptyCommits.commit, s.generation)
}

func (s *postgresStore) durability() *proofs { return s.proofs }

// commitProbe also needs the locks of tables that a batch needs, and waits for a synchronous standby.
func (s *postgresStore) commitProbe(ctx context.Context) error {
	err := s.tryTableLocks(ctx)
	if err != nil {
		return err
	}

	return s.proofs.prove(ctx, s.generation())
}

const lockTablesSQL = `LOCK TABLE entries, escrow_expiries, escrows, idempotency_keys, journal, outbox, transactions, wallets
	IN ROW EXCLUSIVE MODE NOWAIT`

// tryTableLocks returns an error if another session has locked a table, for example to change it. Each
// write would wait for that session.
func (s *postgresStore) tryTableLocks(ctx context.Context) error {
	tx, err := s.health.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()

	_, err = tx.ExecContext(ctx, lockTablesSQL)
	return err
}

const endLostSQL = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = $1 AND pid <> pg_backend_pid()`

// commit commits a message in the server's log that nobody reads. The message makes the transaction
// wait for a synchronous standby. commit first ends the session of the last one if that may still
// wait. The end does no harm, because that transaction was empty.
func (e *emptyCommits) commit(ctx context.Context) error {
	if e.isLost.Load() {
		_, err := e.store.db.ExecContext(ctx, endLostSQL, e.statement)
		if err != nil {
			return err
		}
	}

	_, err := e.store.db.ExecContext(ctx, e.statement)
	e.isLost.Store(err != nil)
	return err
}
