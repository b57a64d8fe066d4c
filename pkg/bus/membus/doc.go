// Package membus is a bus.Bus in the process, for tests. Nothing outlives it. It handles events as
// soon as they are published.
package membus
