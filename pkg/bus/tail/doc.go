// Package tail reads the streams of all partitions without a consumer group, for gateways. Any
// number of tails may run.
//
// The position of each stream is kept in memory. Run first delivers the newest entries of each
// stream, then every entry that comes. After an error, and when Redis restarted or failed over,
// entries may be delivered again: readers drop by seq. A tail cannot know which entries were trimmed
// before it came: its readers notice by seq and ask the ledger.
//
// A tail takes replies as Redis sent them and cuts the entries out of one buffer (internal/resp).
// go-redis' own parser makes a map, a string for each name and value and an interface for each
// value: some 45 objects per entry.
package tail
