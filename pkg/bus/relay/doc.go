// Package relay publishes the rows of a transactional outbox to the Redis streams. The ledger is
// the usual Source of the rows.
//
// # Guarantees
//
//   - Every committed account update reaches the stream, as long as a relay runs and Redis becomes
//     available again. The relay deletes an outbox row only after Redis has acknowledged its
//     updates.
//   - Publishing never delays a commit. While Redis is unavailable the outbox grows, which
//     realtime_relay_outbox_backlog and realtime_relay_outbox_oldest_age_seconds show.
//   - Relays need no leader. Any number of them may run on one outbox.
//
// # The parts
//
// Offered rows are published at once, a batch at a time. The next batch gathers meanwhile
// (publish.go). A sweep reads the outbox and publishes the remaining rows: rows of a process that
// died, rows that did not fit into the queue, and rows that Redis refused because it lacks an
// earlier update (sweep.go). Only the sweep repairs gaps (repair.go). Both paths may publish the
// same row: Redis stores it once.
//
// # Failures
//
//   - A reply is lost after the script ran: the update is published again and answered Duplicate.
//   - One master of a cluster does not answer, or the key of one stream holds another type: the
//     events of those partitions wait in the outbox, in order. All others are published
//     (outage.go).
//   - Redis restarts empty: an account's stream starts again at the oldest event that Redis had not
//     acknowledged, or at 1 for an account with few events. Readers detect the hole by seq and
//     fetch the missing events from the ledger.
//   - Redis fails over to a replica that lacks the newest writes: the script answers Gap. The relay
//     derives the missing updates from the ledger and publishes them first. After each reconnect
//     and each change of the server's run id it also compares quiet accounts, which are accounts
//     without new events. It compares those that changed after the watermark minus Config.Quiet.
//     Redis stores the watermark, so a Redis that lost writes has an older one (reconcile.go,
//     watermark.go). Some events are then in the stream twice with different entry ids, so readers
//     must drop repeats by seq.
//   - An account's hash alone is lost (deleted by hand, evicted): the relay does the same as for an
//     empty Redis, but updates whose deduplication key still exists are not added again. Redis
//     should run with maxmemory-policy noeviction.
//   - The ledger lost commits (a restored backup, a failover): Redis has events that never happened,
//     and the ledger gives their numbers to other events. See below.
//
// # A ledger that went back
//
// Each event carries the chain of its account's history. The relay compares it with the ledger:
// when the script answers Forked, or has a higher seq than an update (fork.go); for the newest
// entries of all streams at the start, when Source.Generation changes, and every Config.Check
// (tips.go); and for accounts that changed recently (reconcile.go). Rows that were read from a
// former database are never published (generation.go).
//
// If an account differs, the relay finds the newest event that both histories have by reading the
// stream backwards (common_point.go). One script call sets the hash back to it and adds a marker,
// bus.TypeHistoryChanged, if the hash is still the one that was compared (rewind.go). Then the relay
// publishes what follows in the ledger. Several relays may do this at the same time.
//
// One fork means that quiet accounts may differ, too. The relay sets the key bus.Keys.Forked,
// compares all balance hashes, repairs the forks, and deletes the key (comparison.go). Another relay
// goes on if this one dies. CheckHistory returns an error meanwhile.
package relay
