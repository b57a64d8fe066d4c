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
// The states say what the waiting requests wait for. The scheduler enters the state that fits
// whenever a request is admitted, a batch finishes or maxWait is over.
//
//	idle       no request waits
//	gathering  a committer is free, but fewer than targetSize requests wait: the batch may grow,
//	           for maxWait at most
//	blocked    a committer is free, but each waiting request has a subject (an account, an escrow
//	           or its call of DoBatch) in common with a running batch or with an older waiting
//	           request
//	saturated  no committer is free
//
//	        request admitted                  targetSize reached, or maxWait over
//	idle ───────────────────────► gathering ──────────────────────────────────────► selectBatch
//	  ▲                               ▲                                                 │
//	  │ none waits                    │ a batch finished, few wait                      │
//	  │                               │                                                 ▼
//	  └───────────────────────────────┴──── saturated or blocked ◄── batch started, or empty
//	                                          until a batch finishes
//
// selectBatch takes the waiting requests in order and leaves those behind that must wait. So
// running batches have no subject in common, and requests with a common subject run in order. If
// targetSize is 1, as it is for a lone caller, gathering is left at once. When ctx ends, batches
// no longer gather; the scheduler ends when it is idle and nothing runs.
//
// # States of a batch
//
//	started ──lockedFor > 0────────────────────────► commitLocked ──────► committed
//	   │                                              ▲    │               │
//	   └──► commitOptimistic ──errRetryLocked─────────┘    │               ▼
//	               │                                       │        announced, cached,
//	               └──────────────────────────────────────────────► requests answered
//	                       committed
//
//	either way ──transient error──► started again after a pause, with locks
//	either way ──other error, or the sixth lost race──► halved; each half is started
//	a single request, or a database that stays unavailable ──► answered with the error
//
// commitOptimistic locks nothing and looks no keys up. It takes wallets and escrows from the
// commit cache and reads only the missing ones. It returns errRetryLocked in two cases: the write
// found that a key was used or that another core had written (then the next 64 batches do not use
// the cache, or, if it was not used, the locks); or an operation is refused, which may be wrong for
// the same reasons. commitLocked locks, reads and looks the keys up before it applies the rules. If
// it finds a key, the next 64 batches use locks at once. So nothing is answered from memory alone:
// a receipt follows a write that checked it, and a refusal follows a read under locks.
//
// SQLite has one writer and no commit cache. Its optimistic batch is a transaction that reads
// first; only keys are not looked up.
package wallet
