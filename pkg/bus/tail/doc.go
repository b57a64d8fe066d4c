// Package tail reads the streams of all partitions without a consumer group, for gateways. Any
// number of tails may run.
//
// A tail keeps the position of each stream in memory. Run first delivers the newest entries of each
// stream, and then every new entry. After an error, and after Redis restarted or failed over,
// entries may be delivered again, so readers must drop repeats by seq. A tail does not know which
// entries were trimmed before it started. Readers detect this by seq and ask the ledger.
//
// A tail reads replies as Redis sent them and slices the entries out of one buffer (internal/resp).
// The parser of go-redis allocates a map, a string for each name and value, and an interface for
// each value, which is about 45 objects per entry.
package tail
