package wallet

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// store is what the ledger needs of a database: the transaction in which a batch is committed, and
// queries. Postgres and SQLite are stores. One conformance suite runs on both.
type store interface {
	// begin opens the transaction of one batch. A locked one locks what it reads. One that is not
	// locked may take no locks; its write then fails unless everything is as the batch believes.
	beginBatch(ctx context.Context, locked bool) (batchTx, error)

	// optimisticWrites reports whether a write checks that the wallets and escrows are as the
	// batch believes, so that a batch may take them from the commit cache.
	optimisticWrites() bool

	// committers returns how many batches may run at the same time.
	committerCount() int

	// sharedQueries returns the queries that both databases have in common.
	sharedQueries() *sqlStore

	ping(ctx context.Context) error
	close() error

	// readWallet returns ErrAccountNotFound if there is none.
	readWallet(ctx context.Context, a Account) (*wallet, error)

	// listEntries returns entries with seq between after and before, newest first.
	listEntries(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error)

	// listEntriesForward returns the same, oldest first.
	listEntriesForward(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error)

	// findEntryUpTo returns where the account's entry with the largest seq up to the given one
	// stands; zero: there is none.
	findEntryUpTo(ctx context.Context, a Account, seq int64) (entryPosition, error)

	// readEscrow returns ErrEscrowNotFound if there is none.
	readEscrow(ctx context.Context, id uuid.UUID) (*Escrow, error)

	// listEscrows looks at so many of the user's escrows below the id, newest first, and returns
	// at most limit of those with the status. last is the last one that it looked at; uuid.Nil: it
	// saw all of them, or reached the limit before.
	listEscrows(
		ctx context.Context, user Account, status EscrowStatus, before uuid.UUID, look, limit int,
	) (escrows []Escrow, last uuid.UUID, err error)

	// readTransaction returns a transaction without its entries, or ErrTransactionNotFound.
	readTransaction(ctx context.Context, id uuid.UUID) (*Transaction, error)

	readTransactionEntries(ctx context.Context, tx *Transaction) ([]Entry, error)

	// listTransactionsAfter returns the transactions of the account's first limit entries with seq
	// greater than after, oldest first.
	listTransactionsAfter(ctx context.Context, a Account, after int64, limit int) ([]Transaction, error)

	// listOutboxRows returns rows with ids greater than after, in order.
	listOutboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error)

	deleteOutboxRows(ctx context.Context, ids []int64) error

	// measureBacklog returns how many transactions are in the outbox, and the oldest one's id.
	measureBacklog(ctx context.Context) (rows int64, oldest uuid.UUID, err error)

	// listChangedSince lists the accounts of limit transactions with id from and above after, and
	// the last one's id; uuid.Nil: there are no more.
	listChangedSince(ctx context.Context, from, after uuid.UUID, limit int) (accounts []bus.Position, last uuid.UUID, err error)

	// listDueEscrows returns the escrows that expire by now, in order of that time, from the one
	// after the given one on.
	listDueEscrows(ctx context.Context, now time.Time, after dueEscrow, limit int) ([]dueEscrow, error)

	// deleteOldKeys deletes at most limit idempotency keys that are older than age, both at now
	// and by the database's clock. It returns how many.
	deleteOldKeys(ctx context.Context, now time.Time, age time.Duration, limit int) (int64, error)
}

// batchTx is one batch's transaction. Its methods are called in the order in which they stand
// here. Every batch locks in that order, each kind sorted, so that two batches on one database
// rarely deadlock.
type batchTx interface {
	// readEscrows returns those escrows that exist, and locks them if the transaction is locked.
	// ids are sorted.
	readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error)

	// readWallets does the same for wallets. accounts are sorted.
	readWallets(ctx context.Context, accounts []Account) ([]wallet, error)

	// readKeys returns those keys that were used before. Only a locked transaction is asked, after
	// it has locked, so that it sees the keys of the batches that it waited for.
	readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error)

	// writeBatch stores a batch and returns the outbox ids in the order of m.transactions.
	// errConflict: another process used a key, or created or changed a wallet first; nothing of
	// this transaction may be kept.
	writeBatch(ctx context.Context, m *mutations) ([]int64, error)

	commit() error
	rollback()
}

// errConflict tells that a batch lost a race and must start again.
var errConflict = errors.New("another process was first")

// keyRef is an idempotency key in the scope of its operation.
type keyRef struct {
	Operation Operation
	Key       string
}

// knownKey is a key that was used before, and for what.
type knownKey struct {
	keyRef
	hash [16]byte
	tx   Transaction // without entries
}

// outboxRow is a transaction that waits to be published.
type outboxRow struct {
	id int64
	tx Transaction // without entries
}

// mutations is all that a batch writes.
type mutations struct {
	transactions []Transaction // in order
	keys         []keyRef      // one for each transaction
	hashes       [][16]byte    // request hashes, one for each key
	wallets      []*wallet     // changed, sorted by account
	opened       []*Escrow     // opened in this batch, even if also ended in it
	closed       []*Escrow     // opened before this batch and ended in it
	refused      bool          // an operation was refused; nothing is written for it
}
