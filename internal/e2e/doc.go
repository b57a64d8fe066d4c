// Package e2e tests the programs as they are shipped. It builds core and gateway and starts them as
// processes on real Postgres and Redis. The tests drive them over HTTP and WebSocket, and kill, stop
// and disconnect the servers that they need.
//
// The tests know the command lines of the programs and the wire contract, and nothing else. Their
// client is a small model of a real one: it remembers the last seq of each account and resumes with
// it at any gateway. It fails its test if an event is missing, arrives twice, or does not follow from
// the balance before it.
package e2e
