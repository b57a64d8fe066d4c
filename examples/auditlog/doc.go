// Command auditlog writes every delivery of every account to a file: one JSON object a
// line, appended and synced to disk before the event is acknowledged.
//
// It shows how a subscriber follows accounts, not the business: it asks the bus for
// Copies, since the second party's delivery has a seq of its own and leaving it out
// would be a hole; it trusts nothing but seq, so that a repeat is left out and a hole is
// told; and its consumer's name is always the same, so that after a crash it gets
// what it had not finished before anything newer.
//
// To try it:
//
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/auditlog --redis-url redis://127.0.0.1:6390/0
//	tail -f auditlog.jsonl
//	go run ./examples/auditlog --check
//	curl -s http://127.0.0.1:9091/metrics | grep ^auditlog_
//
// A hole is logged as an error, counted in auditlog_missing_events, and makes the exit
// code 3 for as long as the file lacks what is missing. A deleted or trimmed entry does
// that, and so does a file that was begun after the streams had been trimmed. The core
// still has such events: GET /v1/accounts/{account}/events?after=<seq>.
//
// One process writes one file, and the group is its own: a second one on the same file is
// refused. At each start the whole file is read, which also checks it; a last line that a
// crash cut off is removed, since its event was not acknowledged and comes again. When
// the disk fails the program stops with exit code 1 and has acknowledged nothing that is not
// on disk. Events of other producers have no seq and are left out.
//
// Flags, log, health and metrics are those of this project's commands, from its internal
// packages. What a program elsewhere would copy is the auditor in main.go, with its calls of
// pkg/bus, and file.go and track.go.
package main
