// Package membus is a bus.Bus in the process, for tests. It handles events as soon as they are
// published, and keeps all of its state in memory.
package membus
