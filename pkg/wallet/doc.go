// Package wallet is the ledger: it commits changes of points in groups and
// numbers each account's events inside the transaction that changes its balance.
//
// What it guarantees:
//
//   - An operation is done once or not at all. Its idempotency key is written in
//     the same SQL transaction as its effect; a repeat gets the first receipt,
//     flagged, also when the first answer was lost in a crash.
//   - No balance is ever negative, and no balance, nor the sum of a user's two, is
//     above 2^53-1.
//   - A transaction's entries sum to zero, are never changed, carry the balance
//     before and after, and are chained by hash per account.
//   - Each account's events are numbered 1, 2, 3 … without a hole, in the order of
//     commits. Events are derived from the transaction whenever they are wanted,
//     always with the same ids and bytes; only their numbers are stored.
//   - What is committed is in the outbox until Published says otherwise.
//   - One operation's refusal or failure changes nothing for the others of its
//     batch.
//
// Do puts an operation into a bounded queue; a full queue is ErrOverloaded, at
// once. Run takes what has gathered and commits it as one transaction while the
// next batch gathers. A lone operation waits for one commit only; a batch waits a
// little for callers that have just been answered. Rules are in rules_apply.go, which knows no database; the databases are behind
// store.go. Several processes may share one Postgres.
//
// What a crash can repeat: the announcement of events (Config.Committed, Pending)
// after a commit. What it can lose: an answer, never an effect.
package wallet
