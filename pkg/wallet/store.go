package wallet

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// store is the ledger's database: the transactions that commit batches, and the queries. Postgres
// and SQLite implement it. Both pass the same conformance tests.
type store interface {
	// beginBatch begins the transaction of one batch. If locked is set, the transaction locks the
	// rows that it reads. Otherwise it may take no locks; then its write fails unless the rows are
	// still as the batch has them.
	beginBatch(ctx context.Context, locked bool) (batchTx, error)

	// optimisticWrites reports whether a write without locks checks that the wallets and escrows
	// are still as the batch has them. Only then may a batch use the commit cache.
	optimisticWrites() bool

	// generation returns a number that grows when new connections reach another database than the
	// earlier ones. Connections to the earlier database are then not used again.
	generation() uint64

	// committerCount returns the number of batches that may run at the same time.
	committerCount() int

	// sharedQueries returns the queries that both databases have in common, on the connections of
	// commits, the relay and housekeeping.
	sharedQueries() *sqlStore

	// readQueries returns the same queries on the connections of reads, which cannot write. However
	// many reads wait for these connections, no commit waits for them.
	readQueries() *sqlStore

	ping(ctx context.Context) error

	// commitProbe commits a transaction that changes nothing.
	commitProbe(ctx context.Context) error

	// durability returns what is known about visible rows that a failover may lose. It is nil for a
	// database without standbys.
	durability() *proofs

	close() error

	// listOutboxRows returns rows with ids greater than after, in order.
	listOutboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error)

	deleteOutboxRows(ctx context.Context, ids []int64) error

	// measureBacklog returns the number of transactions in the outbox and the id of the oldest one.
	measureBacklog(ctx context.Context) (rows int64, oldest uuid.UUID, err error)

	// listChangedSince returns the accounts of the next limit transactions with id >= from and
	// id > after. last is the id of the last of these transactions. It is uuid.Nil if there are no
	// more.
	listChangedSince(ctx context.Context, from, after uuid.UUID, limit int) (accounts []bus.Position, last uuid.UUID, err error)

	// findChains returns the chain at each position. found is false for a position that the ledger
	// does not have. Each account has the chain 0 at seq 0.
	findChains(ctx context.Context, positions []bus.Position) (chains []bus.Chain, found []bool, err error)

	// listPositions returns the newest position of each account that exists, in no order.
	listPositions(ctx context.Context, accounts []string) ([]bus.Position, error)

	// settleJournal reports whether no row can be added to the journal any more at a position that is
	// less than the given one. A row must have been read at this position in the given generation. It
	// waits for a short time for running transactions.
	settleJournal(ctx context.Context, generation uint64, position int64) (bool, error)

	// listDueEscrows returns escrows that have expired by now, in the order of expiry. It starts
	// with the escrow that follows after.
	listDueEscrows(ctx context.Context, now time.Time, after dueEscrow, limit int) ([]dueEscrow, error)

	// deleteOldKeys deletes at most limit idempotency keys and returns their number. The keys must
	// be older than age both at now and by the database's clock.
	deleteOldKeys(ctx context.Context, now time.Time, age time.Duration, limit int) (int64, error)
}

// batchTx is the transaction of one batch. Its methods are called in the order of this list. Every
// batch locks in this order and locks the rows of each table sorted. So two batches on the same
// database rarely deadlock.
type batchTx interface {
	// readEscrows returns the escrows that exist. A locked transaction locks them. The ids must be
	// sorted.
	readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error)

	// readWallets returns the wallets that exist. A locked transaction locks them. The accounts
	// must be sorted.
	readWallets(ctx context.Context, accounts []Account) ([]wallet, error)

	// readKeys returns the keys that were used before. It is called only in a locked transaction,
	// after the reads that lock. So it sees the keys of the batches that the locks waited for.
	readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error)

	// writeBatch stores a batch and returns the outbox ids in the order of m.transactions. It
	// returns errConflict if another process used one of the keys first, or created or changed one
	// of the wallets first. After errConflict the transaction must be rolled back.
	writeBatch(ctx context.Context, m *mutations) ([]int64, error)

	commit() error
	rollback()
}

// errConflict means that another process changed the same rows first. The batch must start again.
var errConflict = errors.New("another process changed the same rows first")

// keyRef is an idempotency key in the scope of its operation.
type keyRef struct {
	Operation Operation
	Key       string
}

// knownKey is an idempotency key that was used before.
type knownKey struct {
	keyRef
	hash [16]byte    // of the request that used the key
	tx   Transaction // of this request, without entries
}

// outboxRow is a transaction that is not published yet.
type outboxRow struct {
	id int64
	tx Transaction // without entries
}

// mutations holds the rows that a batch writes.
type mutations struct {
	transactions []Transaction // in order
	keys         []keyRef      // one for each transaction
	hashes       [][16]byte    // request hashes, one for each key
	wallets      []*wallet     // changed wallets, sorted by account
	opened       []*Escrow     // escrows that this batch opened, and possibly closed
	closed       []*Escrow     // escrows that an earlier batch opened and this batch closed
	refused      bool          // at least one operation was refused; it writes nothing
}
