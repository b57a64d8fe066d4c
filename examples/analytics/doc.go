// Command analytics counts events by minute, event type, reason and feature, and sums
// their points; it answers with JSON over HTTP.
//
// It shows how a subscriber counts each event once though it may get it several
// times: an event's id and what it adds to its minute go into the database in one statement,
// and an id that is there adds nothing. Events with two parties count once, since the
// bus leaves the second party's copy out.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/analytics --redis-url redis://127.0.0.1:6390/0
//	curl -s 'http://127.0.0.1:9092/minutes?type=wallet.escrow_held'
//	curl -s 'http://127.0.0.1:9092/minutes?from=2026-11-24T00:00:00Z&to=2026-11-25T00:00:00Z'
//
// The minute is that of the event's timestamp, so an event that comes late counts where it
// belongs. Points are the events' amounts without sign; the reason says which way they
// went. Ids are remembered for --remember (7 days); an event that is older than that when it comes
// cannot be told from a repeat and becomes a dead letter instead of a wrong count. Each
// event is a commit that is synced to disk. One process has the SQLite file; more of
// them want the same two tables in Postgres.
//
// Flags, log, health and metrics are those of this project's commands, from its internal
// packages. What a program elsewhere would copy is the handler and its database, in handle.go and
// counts.go, and the calls of pkg/bus in main.go.
package main
