package ws

import (
	"log/slog"
	"runtime/debug"
	"sync"
)

// tasks owns the goroutines that come and go with clients, so that the hub can wait for the last of
// them. A panic in one ends that goroutine only.
type tasks struct {
	logger *slog.Logger

	mu      sync.Mutex // protects stopped, and running while it is false
	stopped bool
	running sync.WaitGroup
}

func newTasks(logger *slog.Logger) *tasks { return &tasks{logger: logger} }

// start runs f in a goroutine. After stop it does not, and returns false.
func (t *tasks) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.running.Add(1)
	go func() {
		defer t.finish()
		f()
	}()
	return true
}

func (t *tasks) finish() {
	if p := recover(); p != nil {
		t.logger.Error("panic in a task", "panic", p, "stack", string(debug.Stack()))
	}
	t.running.Done()
}

// stop starts no more and waits for those that run.
func (t *tasks) stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.running.Wait()
}
