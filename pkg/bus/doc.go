// Package bus defines the events that go from the ledger to its consumers, the keys that the system
// uses in Redis, and the interface of a bus that hands events to subscriptions. It compiles no
// Redis client and does not depend on points, SQL or HTTP. It never reads the payload of an event.
//
// # One number checks every hop
//
// The transaction that changes an account's balance numbers the account's events 1, 2, 3 … The
// publisher's script, the tail and every client compare this seq with the last one they have. They
// drop a repeat (seq <= last). They repair a hole (seq > last+1) from the previous hop. Nothing
// downstream of the ledger therefore has to be trusted, and Redis may lose all of its data.
//
// # The packages below
//
//   - redisconn opens a Redis client and checks that Redis has the layout of this process.
//   - publish writes events to the streams.
//   - relay publishes the rows of the ledger's transactional outbox.
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
//     has a dead letter for it. A subscription that is done with an event gets it again only if its
//     process died, or Redis lost data, within some milliseconds.
//   - One process hands a subscription an account's events in order, one after the other. A retried
//     event comes after later ones. The processes of a group share accounts, unless each has its
//     own Partitions.
//   - A handler that fails, panics or hangs delays the next events of its own account by the
//     duration of one call. Reading stops only when Config.MaxInFlight events are in flight,
//     including those that wait for another attempt or for the end of a pause.
//   - An entry that is not an event becomes a dead letter. So does an entry that was handed out ten
//     times without being finished. An entry therefore cannot cause a crash loop.
//   - Publish finds duplicates by ID and by Key, for Config.DedupTTL. Consumers do not look for
//     duplicates.
package bus
