// Package consumer is the durable bus.Bus. It reads a consumer group of the Redis streams and keeps
// dead letters.
//
// Any number of processes may share a group. An entry is acknowledged when all its subscriptions
// are done with it. The results of handlers gather for 2 ms and are sent to Redis in one pipeline
// (acknowledge.go). Entries that all subscriptions finished cost one XACK. Entries that only some
// subscriptions finished also get a done marker. In the usual case an event therefore needs no
// marker. A dead letter is written in one transaction with its subscription's marker, before the
// entry is acknowledged.
//
// A process claims its entries in flight again at intervals. Another process takes over the entries
// of a process that died (claim.go).
package consumer
