package ws

import (
	"log/slog"
	"runtime/debug"
	"sync"
)

// tasks runs the goroutines of clients, so that the hub can wait for them. A panic ends only its
// goroutine.
type tasks struct {
	logger *slog.Logger

	mu      sync.Mutex // protects stopped, and running while stopped is false
	stopped bool
	running sync.WaitGroup
}

func newTasks(logger *slog.Logger) *tasks {
	return &tasks{logger: logger}
}

// startTask runs f in a goroutine. After stopAndWait it does nothing and returns false.
func (t *tasks) startTask(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.stopped {
		return false
	}

	t.running.Add(1)
	go func() {
		defer t.finishTask()
		f()
	}()
	return true
}

// finishTask must be deferred. It logs a panic.
func (t *tasks) finishTask() {
	if p := recover(); p != nil {
		t.logger.Error("task panicked", "panic", p, "stack", string(debug.Stack()))
	}

	t.running.Done()
}

// stopAndWait starts no more tasks and waits until the running tasks have ended.
func (t *tasks) stopAndWait() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.running.Wait()
}
