// Package recent holds the events of a gateway, the memory of recent events that clients resume
// from, and the trace span of an event's delivery. It takes no locks, except inside a Span. The
// owner of a Memory protects the Memory and its Runs.
package recent
