package play

import (
	"fmt"
	"strings"
	"sync"
)

// maxLines bounds a transcript. A client that reconnects without a pause makes many lines.
const maxLines = 2000

// A transcript is what happened in a scenario, a line for each thing.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

func (t *transcript) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < maxLines {
		t.lines = append(t.lines, fmt.Sprintf(format, args...))
	}
}

func (t *transcript) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
