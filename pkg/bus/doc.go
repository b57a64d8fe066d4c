// Package bus is the vocabulary of the events that go from the ledger to everybody who wants them:
// the events themselves, the names of the keys in Redis, and the interface of a bus that hands
// events to subscriptions. It compiles no Redis client and knows nothing of points, SQL or HTTP. The
// payload of an event is never read here.
//
// # One number checks every hop
//
// Each account's events are numbered 1, 2, 3 … by the transaction that changed its balance. The
// publisher's script, the tail and every client compare that seq with the last one they have. A
// repeat (seq <= last) is dropped. A hole (seq > last+1) is repaired from the hop before. So nothing
// downstream of the ledger has to be trusted, and all of Redis may be lost.
//
// # The packages below
//
//   - redisconn opens a Redis client and checks that Redis has the layout of this process.
//   - publish writes events to the streams, with one script per purpose.
//   - relay publishes what the ledger committed: the transactional outbox's relay.
//   - tail reads all streams without a consumer group, for gateways.
//   - consumer is the durable Bus, a consumer group of the streams.
//   - membus is a Bus in the process, for tests.
//   - bustest is the conformance suite of a Bus.
//
// # Subscribers
//
// A Bus hands events to subscriptions. docs/streams.md describes it for users.
//
//   - Delivery is at least once. An entry is acknowledged when every subscription has handled it or
//     has a dead letter for it. A subscription that is done with an event does not get it again,
//     unless its process died, or Redis lost data, within some milliseconds.
//   - One process hands a subscription an account's events in order, one after the other. An event
//     that is tried again comes after later ones. Several processes of a group share accounts, unless
//     each has Partitions of its own.
//   - A handler that fails, panics or hangs delays its own account's next events for as long as one
//     call takes. Reading stops only when Config.MaxInFlight events are in flight, including those
//     that wait for another attempt or for the end of their subscription's pause.
//   - An entry that is not an event, and an entry that was handed out ten times without an end,
//     becomes a dead letter, so nothing is a crash loop.
//   - Duplicates are found when they are published, by ID and by Key, for Config.DedupTTL. A consumer
//     does not look for them.
package bus
