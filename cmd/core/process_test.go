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

// output is what a command writes, and tells when something new is there.
type output struct {
	mu    sync.Mutex // protects the rest
	text  bytes.Buffer
	fresh chan struct{} // closed and replaced at each write
}

func newOutput() *output { return &output{fresh: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.fresh)
	o.fresh = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait returns the first match of the pattern, which is multi-line.
func (o *output) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.After(20 * time.Second)
	for {
		o.mu.Lock()
		text, fresh := o.text.String(), o.fresh
		o.mu.Unlock()
		if m := re.FindString(text); m != "" {
			return m
		}
		select {
		case <-fresh:
		case <-deadline:
			t.Fatalf("no %q in\n%s", pattern, text)
		}
	}
}

// process is a command that runs until stop.
type process struct {
	*testing.T
	out, err *output
	cancel   context.CancelFunc
	code     chan int
}

func launch(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{T: t, out: newOutput(), err: newOutput(), cancel: cancel, code: make(chan int, 1)}
	go func() { p.code <- run(ctx, args, func(string) string { return "" }, p.out, p.err) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", p.out, p.err)
		}
	})
	return p
}

// stop ends the command as a signal does, and wants exit code 0 within 2 s.
func (p *process) stop() {
	p.Helper()
	begin := time.Now()
	p.cancel()
	select {
	case code := <-p.code:
		if took := time.Since(begin); code != 0 || took > 2*time.Second {
			p.Errorf("exit code %d after %s", code, took)
		}
	case <-time.After(10 * time.Second):
		p.Fatal("does not stop")
	}
}

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
	if err := json.Unmarshal(raw, &answer); err != nil {
		answer = map[string]any{"text": string(raw)}
	}
	return resp.StatusCode, answer
}
