// Package relay is the relay of the ledger's transactional outbox: it publishes what a Source
// committed.
//
// # Guarantees
//
//   - Every committed account update reaches the stream, if some relay runs and Redis comes back. An
//     outbox row is deleted only after Redis acknowledged its updates.
//   - Publishing never delays a commit. While Redis is unavailable the outbox grows, which
//     relay_outbox_backlog and relay_outbox_oldest_age_seconds show.
//   - Relays need no leader. Any number of them may run on one outbox.
//
// # The parts
//
// Offered rows are published at once, a batch at a time, while the next batch gathers (publish.go).
// A sweep goes through the outbox for the rows that were left: of a process that died, that did not
// fit into the queue, or that Redis refused because it lacks their predecessors (sweep.go). Only the
// sweep repairs (repair.go). Both may publish the same row: Redis takes it once.
//
// # Failures
//
//   - A reply is lost after the script ran: the update is published again and answered Duplicate.
//   - One master of a cluster does not answer, or the key of one stream is no stream: the events of
//     those partitions wait in the outbox, in order. All others are published (outage.go).
//   - Redis comes back empty: an account's stream starts again at the oldest event that Redis had not
//     acknowledged, or at 1 for an account with few events. Readers see a hole by seq and fetch the
//     missing events from the ledger.
//   - Redis fails over to a replica that lacks the last moments: the script answers Gap. The relay
//     derives the missing updates from the ledger and publishes them first. After each reconnect and
//     each change of the server's run id, accounts that stay quiet are compared as well: those that
//     changed since Config.Quiet before the watermark, which Redis keeps and which went back with the
//     rest (reconcile.go, watermark.go). Some events are in the stream twice then, with new entry
//     ids, so readers drop by seq.
//   - An account's hash alone is lost (deleted by hand, evicted): as with an empty Redis, but updates
//     whose deduplication key is still there are not added again. Redis should run with
//     maxmemory-policy noeviction.
//   - The ledger went back in time (a restored backup, a failover that lost commits): its new events
//     repeat numbers that Redis has and count as duplicates. The relay logs it and counts
//     relay_ahead_total. The remedy is to delete the namespace's keys (rollback.go).
package relay
