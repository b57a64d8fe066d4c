// Package consumer is the durable bus.Bus: a consumer group of the Redis streams, with dead letters.
//
// Any number of processes may share a group. An entry is acknowledged when all its subscriptions are
// done with it. What became of entries is gathered for 2 ms and told to Redis in one pipeline
// (settle.go): an XACK for entries that all subscriptions finished, and a done marker for those that
// only some finished, so that in the usual case an event costs no marker at all. A dead letter is
// written in one transaction with its subscription's marker, before the entry is acknowledged.
// Entries in flight are claimed again now and then, so only a process that died loses them to another
// (claim.go).
package consumer
