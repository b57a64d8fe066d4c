// Package recent holds an event as a gateway keeps and shows it, the memory of recent events that
// clients resume from, and the trace span of an event's delivery. It holds no locks: the owner of a
// Memory protects it and its Chains.
package recent
