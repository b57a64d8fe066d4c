package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// testTimeout bounds every wait of a test.
const testTimeout = 5 * time.Minute

// output collects the output of a command and signals each write.
type output struct {
	mu      sync.Mutex // protects the fields below
	text    bytes.Buffer
	written chan struct{} // closed and replaced at each write
}

func newOutput() *output { return &output{written: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.written)
	o.written = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// awaitMatch waits for the pattern, in multi-line mode, and returns its first match.
func (o *output) awaitMatch(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.After(testTimeout)
	for {
		o.mu.Lock()
		text := o.text.String()
		written := o.written
		o.mu.Unlock()
		match := re.FindString(text)
		if match != "" {
			return match
		}
		select {
		case <-written:
		case <-deadline:
			t.Fatalf("got no match of %q in\n%s", pattern, text)
		}
	}
}

// process is a command that runs until stop.
type process struct {
	*testing.T
	out    *output
	err    *output
	cancel context.CancelFunc
	code   chan int
	ended  chan struct{} // closed when the command has ended
}

func launchCommand(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		T:      t,
		out:    newOutput(),
		err:    newOutput(),
		cancel: cancel,
		code:   make(chan int, 1),
		ended:  make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		p.code <- run(ctx, args, nil, p.out, p.err)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-p.ended:
		case <-time.After(testTimeout):
			t.Errorf("the command does not stop within %s", testTimeout)
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", p.out, p.err)
		}
	})
	return p
}

// stop ends the command like a signal. It requires exit code 0.
func (p *process) stop() {
	p.Helper()
	p.cancel()
	select {
	case code := <-p.code:
		if code != 0 {
			p.Errorf("exit code: got %d, want 0", code)
		}
	case <-time.After(testTimeout):
		p.Fatalf("the command does not stop within %s", testTimeout)
	}
}

// awaitExit waits for the end of a command that ends by itself and returns its exit code.
func (p *process) awaitExit() int {
	p.Helper()
	select {
	case code := <-p.code:
		return code
	case <-time.After(testTimeout):
		p.Fatalf("the command runs after %s", testTimeout)
		return 0
	}
}

// request returns the status and the JSON of an answer. An answer that is not a JSON object is
// returned under the name text.
func (p *process) request(method, url string, header http.Header, body string) (int, map[string]any) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	req.Header = header
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	var answer map[string]any
	err = json.Unmarshal(raw, &answer)
	if err != nil {
		answer = map[string]any{"text": string(raw)}
	}
	return resp.StatusCode, answer
}

// findError returns a line of a log that reports an error, or an empty text. It ignores outages that
// the program waits out: on a busy machine Redis may answer too late.
func findError(log string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"ERROR"`) && !strings.Contains(line, "retrying") {
			return line
		}
	}
	return ""
}
