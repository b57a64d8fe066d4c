package wallet

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// store is what the ledger needs of a database: the transaction in which a
// batch is committed, and queries. Postgres and SQLite are stores; one
// conformance suite runs on both.
type store interface {
	// begin opens the transaction of one batch. One that is not careful may take
	// no locks; its write then fails unless all is as it was read.
	begin(ctx context.Context, careful bool) (batchTx, error)

	// checks tells whether a write checks that the wallets and escrows are what
	// the batch believes, so that it may know them from earlier batches.
	checks() bool

	// lanes is how many batches may be under way at a time.
	lanes() int

	// queries are what both databases have in common.
	queries() *sqlStore

	ping(ctx context.Context) error
	close() error

	wallet(ctx context.Context, a Account) (*wallet, error) // ErrAccountNotFound
	// entries returns entries with seq between after and before, newest first.
	entries(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error)
	// entriesAfter returns the same, oldest first.
	entriesAfter(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error)
	// entryUpTo finds the account's entry with the largest seq up to the given one.
	entryUpTo(ctx context.Context, a Account, seq int64) (place, error)
	escrow(ctx context.Context, id uuid.UUID) (*Escrow, error) // ErrEscrowNotFound
	// escrows looks at so many of the user's escrows below the id, newest first. It returns at most limit of those with
	// the status, and the last one that it looked at if there were so many; uuid.Nil: it saw all, or met the limit before.
	escrows(ctx context.Context, user Account, status EscrowStatus, before uuid.UUID, look, limit int) ([]Escrow, uuid.UUID, error)
	transaction(ctx context.Context, id uuid.UUID) (*Transaction, error) // ErrTransactionNotFound; without entries
	transactionEntries(ctx context.Context, tx *Transaction) ([]Entry, error)
	// transactionsAfter returns the transactions of the account's first limit
	// entries with seq greater than after, oldest first.
	transactionsAfter(ctx context.Context, a Account, after int64, limit int) ([]Transaction, error)

	outbox(ctx context.Context, after int64, limit int) ([]outboxRow, error)
	deleteOutbox(ctx context.Context, ids []int64) error
	backlog(ctx context.Context) (rows int64, oldest uuid.UUID, err error)
	// changedSince lists the accounts of limit transactions with id from and above
	// after, and the last one's id; uuid.Nil: there are no more.
	changedSince(ctx context.Context, from, after uuid.UUID, limit int) (accounts []bus.Position, last uuid.UUID, err error)

	// dueEscrows returns escrows that are to end by now, in order of their time, from the one after on.
	dueEscrows(ctx context.Context, now time.Time, after dueEscrow, limit int) ([]dueEscrow, error)
	// forgetKeys removes at most limit idempotency keys that are older than age, whether it
	// is now or what the database's clock says, and tells how many.
	forgetKeys(ctx context.Context, now time.Time, age time.Duration, limit int) (int64, error)
}

// batchTx is one batch's transaction. Methods are called in the order in which
// they stand here; every batch locks in that order, each kind sorted, so that
// two batches on one database rarely deadlock.
type batchTx interface {
	// escrows returns those escrows that exist, and locks them if the transaction is careful; ids are sorted.
	escrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error)
	// wallets does the same; accounts are sorted.
	wallets(ctx context.Context, accounts []Account) ([]wallet, error)
	// keys finds what is known under the idempotency keys. Only a careful
	// transaction is asked, after its locks, so that it sees what those waited for.
	keys(ctx context.Context, refs []keyRef) ([]knownKey, error)
	// write stores a batch's mutations and returns the outbox ids in the order of
	// m.transactions. errConflict: another process took a key, or made or changed a
	// wallet first; nothing of this transaction may be kept.
	write(ctx context.Context, m *mutations) ([]int64, error)
	commit() error
	rollback()
}

// errConflict tells that a batch lost a race and must run again from the start.
var errConflict = errors.New("another process was first")

type keyRef struct {
	Operation Operation
	Key       string
}

type knownKey struct {
	keyRef
	hash [16]byte
	tx   Transaction // without entries
}

type outboxRow struct {
	id int64
	tx Transaction // without entries
}

// mutations is all that a batch writes.
type mutations struct {
	transactions []Transaction // in order
	keys         []keyRef      // of the transactions, one each
	hashes       [][16]byte    // request hashes of the keys
	wallets      []*wallet     // changed, sorted by account
	opened       []*Escrow     // held now, even if ended in the same batch
	ended        []*Escrow     // held before this batch and ended in it
	refused      bool          // an operation was refused; nothing is written for it
}
