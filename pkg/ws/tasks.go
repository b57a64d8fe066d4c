package ws

import (
	"log/slog"
	"runtime/debug"
	"sync"
)

// tasks owns the goroutines that come and go with clients, so that the hub can
// wait for the last of them. A panic in one stays there.
type tasks struct {
	logger *slog.Logger

	mu      sync.Mutex // protects what follows
	running int
	stopped bool
	idle    chan struct{} // closed when stopped and none runs
}

func newTasks(logger *slog.Logger) *tasks {
	return &tasks{logger: logger, idle: make(chan struct{})}
}

// start runs f in a goroutine. It is false, and does not, after stop.
func (t *tasks) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.running++
	go func() {
		defer t.done()
		f()
	}()
	return true
}

func (t *tasks) done() {
	if p := recover(); p != nil {
		t.logger.Error("panic in a task", "panic", p, "stack", string(debug.Stack()))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	if t.stopped && t.running == 0 {
		close(t.idle)
	}
}

// stop starts no more and waits for those that run.
func (t *tasks) stop() {
	t.mu.Lock()
	if !t.stopped {
		t.stopped = true
		if t.running == 0 {
			close(t.idle)
		}
	}
	t.mu.Unlock()
	<-t.idle
}
