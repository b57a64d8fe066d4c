// Package gcroom lets a small heap grow before it is collected.
//
// Go collects when the heap has doubled. While ten thousand clients come to a gateway
// that has just started, or a core with few accounts is busy, that is again and again, and on
// one processor a collection holds up everything else. What a heap may grow by costs memory once, not for
// each client.
package gcroom

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Keep lets the heap grow by at least so many bytes from one collection to the next,
// until stop. A heap that is larger than that doubles, as ever. GOMEMLIMIT still holds.
// It does nothing when the environment sets GOGC: that is somebody's own choice.
func Keep(bytes uint64) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	r := &room{bytes: bytes}
	r.adjust()
	return r.stop
}

type room struct {
	bytes uint64

	mu      sync.Mutex // protects what follows
	percent int        // that was set last
	stopped bool
}

// mark is what the collector finds unreachable each time. It holds a pointer, since
// small objects without one share their memory with others.
type mark struct{ room *room }

// adjust sets the percentage for the heap as the last collection left it, and is
// called again after the next.
func (r *room) adjust() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if p := percent(live[0].Value.Uint64(), r.bytes); p != r.percent {
		r.percent = p
		debug.SetGCPercent(p)
	}
	runtime.SetFinalizer(&mark{r}, func(m *mark) { m.room.adjust() })
}

func (r *room) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	debug.SetGCPercent(usual)
}

const (
	usual    = 100     // GOGC, when nobody sets it
	smallest = 4 << 20 // how large Go takes a heap to be at least
)

// percent is GOGC for a heap that may grow by room.
func percent(live, room uint64) int {
	return max(usual, int(100*room/max(live, smallest))) //nolint:gosec // room is some MiB
}
