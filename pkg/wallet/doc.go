// Package wallet is the ledger. It commits operations on points in groups. The events of an account
// are numbered in the transaction that changes its balance.
//
// # Guarantees
//
//   - An operation is done exactly once or not at all. Its idempotency key is written in the same
//     SQL transaction as its effect. A retry returns the first receipt with Replayed set, even if
//     the first answer was lost in a crash.
//   - No balance is negative. No balance, and no sum of a user's two balances, exceeds 2^53-1.
//   - The entries of a transaction sum to zero and never change. An entry has the balance before
//     and after it. The entries of an account form a hash chain.
//   - The events of an account are numbered 1, 2, 3 … without a gap, in the order of the commits.
//     Events are not stored. They are derived from the stored transaction, always with the same ids
//     and bytes.
//   - A committed transaction stays in the outbox until Published removes it.
//   - If an operation of a batch is refused or fails, the other operations are not affected.
//
// After a crash the same events may be announced again (Config.Committed, Pending). A crash may
// lose the answer to an operation, but never the effect of an answered operation. Several processes
// may use the same Postgres database.
//
// # The path of an operation
//
// Do validates the operation and puts it into a bounded queue (ledger.go, commit_request.go). If
// the queue is full, Do returns ErrOverloaded at once. The scheduler makes batches of the requests
// in the queue and passes each batch to a free committer (commit_scheduler.go). Postgres has two
// committers, SQLite has one. The committer commits the batch, with retries, or splits it
// (commit_batch.go). It has two ways to commit: commitOptimistic and commitLocked. Both apply the
// rules in memory, write, commit and announce the events (commit_paths.go). Then the committer
// sends the requests their results.
//
// # States of the scheduler
//
// After each event the scheduler starts as many batches as possible. Then its state is the event
// that the waiting requests wait for:
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
// A request must wait if it has a subject in common with a running batch or with an older request
// that must wait. A subject is an account, an escrow or a DoBatch call. So running batches have no
// subject in common, and requests with a common subject run in order. With a single caller the
// targetSize is 1, so its requests do not gather. When ctx ends, batches no longer gather. The
// scheduler ends when it is idle and no batch runs.
//
// # States of a batch
//
//	started ──lockedFor is 0──► commitOptimistic ──errRetryLocked──► commitLocked ◄──┐
//	   │                               │                                  │          │
//	   └──lockedFor is above 0─────────│──────────────────────────────────│──────────┘
//	                                   ▼                                  ▼
//	                               committed ──► announced ──► cached ──► requests answered
//
//	error of either commit          next step
//	transient                       after a pause the batch starts again, with lockedFor at 64
//	transient for too long          the requests are answered with ErrUnavailable
//	the sixth conflict, or any      the two halves start, one after the other; a batch of one
//	error that is not transient     request is answered with the error
//
// commitOptimistic takes no locks and does not look up idempotency keys. It takes wallets and
// escrows from the commit cache and reads only the missing ones. It returns errRetryLocked in two
// cases:
//
//   - A conflict: the write found a used key, or a wallet or escrow that another core changed. If
//     the batch used the cache, the committer's next 64 batches read instead. If the batch did not
//     use the cache, the next 64 batches use locks.
//   - A refusal, because it may be wrong for the same reasons.
//
// commitLocked takes locks, reads, and looks up the keys before it applies the rules. If it finds a
// key, the next 64 batches use locks at once.
//
// So no answer depends on memory alone. A receipt follows a write that checked the state, and a
// refusal follows a read under locks.
//
// SQLite has one writer and no commit cache. Its optimistic batch is a transaction that reads all
// wallets and escrows and does not look up idempotency keys.
package wallet
