// Package redisconn opens clients for Redis and tells which server answers.
//
// Open takes one URL for a single server, Sentinel or a Cluster, with or without TLS. Every call of
// its clients has a deadline: a Redis that hangs costs seconds, not a goroutine.
package redisconn
