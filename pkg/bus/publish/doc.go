// Package publish writes events to the Redis streams.
//
// A Publisher writes the ledger's account updates. One script call compares each update's seq with
// the account's balance hash, sets its deduplication key (SET NX), adds its deliveries to the
// stream and updates the hash. It writes each update completely or not at all, independently of the
// others. The same updates may be published again at any time: they are answered Duplicate.
//
//   - A stream has an account's deliveries with rising seq and without repeats, as long as Redis
//     keeps the account's hash.
//   - If Redis lacks an update's predecessor, the answer is Gap and nothing is written.
//   - If a call fails, the outcome of its updates is Unknown: publish them again.
//   - Each call trims its streams to about Config.MaxLen entries, which bounds their memory. To
//     trim by age as well, run XTRIM MINID regularly beside the publishers.
//
// An EventPublisher writes the events of other producers, with deduplication by ID and by Key.
package publish
