// Package chaos runs the real programs under random faults and checks them against a model of its
// own. Two cores, two gateways, Postgres and Redis run as processes, with a TCP proxy in front of
// each. Workers do random operations with idempotency keys, and clients watch the accounts over
// WebSocket and server-sent events, while a schedule of faults is injected.
//
// A run consists of episodes. An episode has a new world and a seed, which fixes the faults, their
// order and their durations, and the random choices of the workers. At its end all faults are healed,
// and the model is compared with the ledger, Redis and the states that each client was shown.
//
// scripts/chaos runs it for minutes. A short episode is one of the tests of ./... in scripts/test.
// docs/failures.md describes the checks and the findings.
package chaos
