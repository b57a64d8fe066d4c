// Package testenv gives tests real servers: a Postgres database, a Redis namespace, a redis-server
// process that the test may kill, and a TCP proxy that the test may cut.
//
// The environment names the servers (TEST_DATABASE_URL, TEST_REDIS_URL). ./scripts/test and
// ./scripts/services start them. A test that needs a missing server fails with a message that says
// how to start it. It never skips.
//
// Each test has its own database, namespace, process or proxy, which is removed when the test ends.
// So tests may run in parallel, in one process and in many. If a test process is killed, its data
// stays until the servers stop.
package testenv
