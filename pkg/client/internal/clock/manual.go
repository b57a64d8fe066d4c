package clock

import (
	"slices"
	"sync"
	"time"
)

// Manual is a clock that moves only when it is told to.
type Manual struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer // in the order of their times, and of their making if the times are equal
}

type manualTimer struct {
	clock *Manual
	at    time.Time
	call  func()
}

// NewManual returns a clock that stands at the time.
func NewManual(now time.Time) *Manual { return &Manual{now: now} }

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// AfterFunc implements Clock. Advance makes the call in its own goroutine.
func (m *Manual) AfterFunc(d time.Duration, f func()) Timer {
	m.mu.Lock()
	defer m.mu.Unlock()

	t := &manualTimer{clock: m, at: m.now.Add(max(d, 0)), call: f}
	isLater := func(other *manualTimer) bool { return other.at.After(t.at) }
	i := slices.IndexFunc(m.timers, isLater)
	if i < 0 {
		i = len(m.timers)
	}
	m.timers = slices.Insert(m.timers, i, t)
	return t
}

// Stop implements Timer.
func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()

	i := slices.Index(t.clock.timers, t)
	if i < 0 {
		return false
	}
	t.clock.timers = slices.Delete(t.clock.timers, i, i+1)
	return true
}

// Advance moves the clock and makes the calls that become due, each at its own time. After each call
// it calls settle, which returns when everything that the call started has happened. Calls that are
// asked for meanwhile are made too if they become due.
func (m *Manual) Advance(d time.Duration, settle func()) {
	m.mu.Lock()
	end := m.now.Add(d)
	m.mu.Unlock()

	for {
		due := m.takeDue(end)
		if due == nil {
			return
		}
		due()
		settle()
	}
}

// Jump moves the clock past all calls that become due, and then makes them. The timers of a computer
// that sleeps do the same.
func (m *Manual) Jump(d time.Duration, settle func()) {
	m.mu.Lock()
	m.now = m.now.Add(d)
	m.mu.Unlock()
	m.Advance(0, settle)
}

// takeDue moves the clock to the next call that is due at end, and returns it. Without such a call
// it moves the clock to end and returns nil.
func (m *Manual) takeDue(end time.Time) func() {
	m.mu.Lock()
	defer m.mu.Unlock()

	if len(m.timers) == 0 || m.timers[0].at.After(end) {
		m.now = end
		return nil
	}
	t := m.timers[0]
	m.timers = slices.Delete(m.timers, 0, 1)
	if t.at.After(m.now) {
		m.now = t.at
	}
	return t.call
}
