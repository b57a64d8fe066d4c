// Package wallet is the ledger. It commits changes of points in groups, and numbers each account's
// events inside the transaction that changes its balance.
//
// # Guarantees
//
//   - An operation is done once or not at all. Its idempotency key is written in the same SQL
//     transaction as its effect. A repeat gets the first receipt, flagged as a repeat, also if the
//     first answer was lost in a crash.
//   - No balance is ever negative. No balance, and no sum of a user's two balances, exceeds 2^53-1.
//   - A transaction's entries sum to zero and are never changed. They carry the balance before and
//     after, and form a hash chain per account.
//   - Each account's events are numbered 1, 2, 3 … without a gap, in the order of commits. Events
//     are derived from the transaction whenever they are needed, always with the same ids and
//     bytes. Only their numbers are stored.
//   - A committed transaction stays in the outbox until Published removes it.
//   - A refusal or a failure of one operation changes nothing for the others of its batch.
//
// After a crash the announcement of events (Config.Committed, Pending) may be repeated. An answer
// may be lost; an effect is never lost. Several processes may share one Postgres.
//
// # The way of an operation
//
// Do validates the operation and puts it into a bounded queue (ledger.go, commit_request.go). If
// the queue is full, Do returns ErrOverloaded at once. The scheduler takes requests from the
// queue, makes batches of them and hands each batch to a free committer (commit_scheduler.go).
// Postgres has two committers, SQLite has one. The committer commits the batch, retries it or
// splits it (commit_batch.go). It has two ways to commit, commitOptimistic and commitLocked; both
// apply the rules in memory, write, commit and announce the events (commit_paths.go). Then it
// answers the requests.
//
// # States of the scheduler
//
// After each event the scheduler starts batches as far as it can. Then its state says which event
// the waiting requests wait for:
//
//	a request is admitted, a batch finishes, maxWait is over, or ctx ends
//	  │
//	  ▼
//	no request waits? ───────────────yes──► idle: until a request is admitted
//	  │ no
//	  ▼
//	no committer is free? ───────────yes──► saturated: until a batch finishes
//	  │ no
//	  ▼
//	fewer than targetSize wait? ─────yes──► gathering: until more are admitted or maxWait is over
//	  │ no, or maxWait is over
//	  ▼
//	selectBatch: must all wait? ─────yes──► blocked: until a batch finishes or a request is admitted
//	  │ no
//	  ▼
//	the batch starts; again from the top
//
// A request must wait if it has a subject (an account, an escrow or its call of DoBatch) in common
// with a running batch or with an older request that must wait. So running batches have no subject
// in common, and requests with a common subject run in order. A lone caller's targetSize is 1, so
// its requests do not gather. When ctx ends, no batch gathers any more, and the scheduler ends when
// it is idle and no batch runs.
//
// # States of a batch
//
//	started ──lockedFor is 0──► commitOptimistic ──errRetryLocked──► commitLocked ◄──┐
//	   │                               │                                  │          │
//	   └──lockedFor is above 0─────────│──────────────────────────────────│──────────┘
//	                                   ▼                                  ▼
//	                               committed ──► announced ──► cached ──► requests answered
//
//	error of either one             what follows
//	transient                       a pause; started again, with lockedFor at 64
//	transient for too long          requests answered with ErrUnavailable
//	the sixth lost race, or any     the two halves are started, one after the other; a batch of one
//	error that is not transient     request is answered with the error
//
// commitOptimistic locks nothing and looks no keys up. It takes wallets and escrows from the commit
// cache and reads only the missing ones. It returns errRetryLocked in two cases. The first one is a
// conflict: the write found that a key was used or that another core had written. Then the
// committer's next 64 batches read instead of using the cache; if this batch had read already, they
// use locks. The second case is a refusal, which may be wrong for the same reasons. commitLocked
// locks, reads and looks the keys up before it applies the rules. If it finds a key, the next 64
// batches use locks at once. So nothing is answered from memory alone: a receipt follows a write
// that checked it, and a refusal follows a read under locks.
//
// SQLite has one writer and no commit cache. Its optimistic batch is a transaction that reads first
// and looks no keys up.
package wallet
