// Package testenv gives tests real servers: a Postgres database of their own, a Redis namespace of their own, a
// redis-server process that may be killed, and a TCP proxy that may be cut.
//
// Postgres and Redis are the ones that the environment names (TEST_DATABASE_URL, TEST_REDIS_URL); ./scripts/test and
// ./scripts/services bring them up. A test that needs a server and has none fails with a message that says so: it never
// skips.
//
// Everything a test gets is its own and is removed when the test ends, so tests may run in parallel, in one process and
// in many. What a killed test process leaves behind dies with the servers.
package testenv
