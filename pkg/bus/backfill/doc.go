// Package backfill copies the ledger's history into the replay streams of a consumer group.
//
// The group handles the copies like live events: with its workers, retries and dead letters. The
// copies of an account are in the order of its seq. Each event is added exactly once: a partition's
// stream and the record of what was added to it change together, in one script. So a copier that
// dies continues where it was, in another process if need be.
//
// One process at a time copies for a name. It holds a lock that ends by itself when the process
// dies. A process that was silent for longer than that can do no harm, since each lock has a greater
// number than the one before, and the scripts refuse the smaller number.
//
// The streams are bounded: the copier waits while a partition has MaxQueued entries that the group
// has not finished.
package backfill
