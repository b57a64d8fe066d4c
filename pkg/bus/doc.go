// Package bus carries committed events from the ledger to everybody who wants
// them, through Redis Streams. It knows nothing of points, SQL or HTTP: an event
// is a Delivery whose payload it never reads.
//
// # One number checks every hop
//
// Each account's events are numbered 1, 2, 3 … by the transaction that changed
// its balance. The publisher's script, the tail and whoever shows an event
// compare that seq with the last one they have: a repeat is seq <= last and is
// dropped, a hole is seq > last+1 and is healed from the hop before. So nothing
// here has to be trusted, and all of Redis may be lost.
//
// # What is guaranteed
//
//   - In a stream, an account's deliveries have rising seq without repeats as long
//     as Redis keeps the account's hash. A transaction's deliveries to one account
//     (a Group) are there together or not at all, and the balance hash agrees with
//     the last of them: one script writes all of it.
//   - Every committed group reaches the stream, if some relay runs and Redis comes
//     back: an outbox row is deleted only after Redis acknowledged its groups.
//     Relays need no leader; as many as wanted may run on one outbox.
//   - Publishing never holds up a commit. While Redis is away the outbox grows, and
//     relay_outbox_backlog and relay_outbox_oldest_age_seconds say so.
//
// # What may happen, and what then
//
//   - A reply is lost after the script ran: the group is sent again and answered
//     Duplicate.
//   - One master of a cluster does not answer, or the key of one stream holds
//     something else: the events of those partitions wait in the outbox, in order;
//     others are published. (A cluster that refuses everything while a master is
//     away is set to: cluster-require-full-coverage.)
//   - Redis comes back empty: an account's stream starts again at the oldest event
//     that Redis had not acknowledged (from 1 for an account with few events).
//     Readers see a hole by seq and fetch what they miss from the ledger.
//   - Redis fails over to a replica that lacks the last moments: the script
//     answers Gap, and the relay derives the missing groups from the ledger and
//     publishes them first. Accounts that stay quiet are compared too, after each
//     reconnect and each change of the server's run id: those that changed since
//     RelayConfig.Quiet before the time in Keys.Relayed, which went back with the
//     rest. Some events are then in the stream a second time with new ids, so
//     readers must drop by seq.
//   - An account's hash is lost alone (deleted by hand, evicted): as with an empty
//     Redis, but groups whose dedup key is still there are not added again; the
//     hash moves forward. Redis should run with maxmemory-policy noeviction.
//   - Streams are trimmed. A tail cannot know what was trimmed before it came; its
//     readers notice by seq and ask the ledger.
//   - Redis is ahead of the ledger (a database restored from a backup, or failed over
//     to a standby that lacked the last commits): new events repeat numbers that
//     Redis has and are taken for duplicates. The relay logs it and counts
//     relay_ahead_total; the remedy is to delete the namespace's keys. Only the newest
//     number that Redis has, if used again, passes for an ordinary repeat.
//
// # Subscribers
//
// A Bus hands events to subscriptions; docs/streams.md says it for users.
//
//   - At least once. An entry is acknowledged when all its subscriptions are through:
//     they handled it, or it is their dead letter. A subscription that is through does
//     not run again for the event, except when its process died, or Redis lost data,
//     within some milliseconds.
//   - One process hands a subscription an account's events in order, one after the
//     other. An event that is tried again comes after later ones. Several processes of
//     a group share accounts, unless each has Partitions of its own.
//   - A handler that fails, panics or hangs holds up its own account's next events for
//     as long as one call takes, and reading only when Config.MaxInFlight events are
//     under way: those that wait for another attempt, or for the end of their
//     subscription's pause, count.
//   - Nothing is a crash loop: what is no event, and what processes died of ten times,
//     becomes a dead letter.
//   - Duplicates are found when they are published, by ID and by Key, for
//     Config.DedupTTL. A consumer does not look for them.
//
// # Trimming
//
// Each script call first trims its streams to about PublisherConfig.MaxLen entries, which bounds
// memory whatever happens. To trim by age as well, run XTRIM MINID every so often
// beside the publishers; it is not done per event, since it would cost every
// event what is needed once a minute.
package bus
