// Package clock is the time that the client reads. Tests and the scenario adapter replace it by a
// clock that they move themselves.
package clock

import "time"

// A Clock tells the time and calls functions later.
type Clock interface {
	// Now returns the time. The client compares it by wall clock, so that a computer's sleep counts.
	Now() time.Time
	// AfterFunc calls f once when d has passed, in a goroutine that may hold no locks of the
	// client.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a call that can be cancelled.
type Timer interface {
	// Stop cancels the call. It returns false if the call has begun or was cancelled before.
	Stop() bool
}

// Default is the clock of new clients. Only a program that drives a client through time changes it,
// before it makes the client.
var Default Clock = System{}

// System is the clock of the operating system.
type System struct{}

// Now returns the wall clock's time, without the reading of the monotonic clock, which stands still
// while a computer sleeps.
func (System) Now() time.Time { return time.Now().Round(0) }

// AfterFunc implements Clock.
func (System) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
