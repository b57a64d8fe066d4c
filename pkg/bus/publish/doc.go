// Package publish writes events to the Redis streams.
//
// A Publisher writes the ledger's account updates. One script call checks each update's seq against
// the account's balance hash, claims its deduplication key (SET NX), adds its deliveries to the
// stream and sets the hash. Each update is written as a whole or not at all, and each stands alone.
// The same updates may be published again at any time: they are answered Duplicate.
//
//   - A stream holds an account's deliveries with rising seq and without repeats, as long as Redis
//     keeps the account's hash.
//   - An update whose predecessor is missing is answered Gap, and nothing is written.
//   - When a call fails, the outcome of its updates is Unknown: publish them again.
//   - Each call trims its streams to about Config.MaxLen entries, so their memory is bounded. To trim
//     by age as well, run XTRIM MINID now and then beside the publishers.
//
// An EventPublisher writes the events of other producers, with deduplication by ID and by Key.
package publish
