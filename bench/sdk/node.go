//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// nodeTimeout limits a command of a Node.js process. The longest one opens many clients.
const nodeTimeout = 3 * time.Minute

// node is a Node.js process that runs clients of one library (js/client.mjs).
type node struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed after the last line

	mu      sync.Mutex // protects the fields below
	nextID  int
	answers map[int]chan json.RawMessage
	states  map[string]clientState
	changed chan struct{} // closed and replaced when a state changes
}

// clientState tells whether a client is live, and since when.
type clientState struct {
	live bool
	at   time.Time
}

func startNode(ctx context.Context, directory, library string) (*node, error) {
	n := &node{
		cmd:     exec.CommandContext(ctx, "node", "client.mjs", library),
		ended:   make(chan struct{}),
		answers: make(map[int]chan json.RawMessage),
		states:  make(map[string]clientState),
		changed: make(chan struct{}),
	}
	n.cmd.Dir = directory
	var errs firstOutput
	n.cmd.Stderr = &errs
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}

	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}

	err = n.cmd.Start()
	if err != nil {
		return nil, fmt.Errorf("start node (Node.js must be on PATH): %w", err)
	}

	n.stdin = stdin
	go func() {
		defer close(n.ended)
		n.readLines(stdout)
	}()
	return n, nil
}

// close ends the process.
func (n *node) close() error {
	err := n.stdin.Close()
	<-n.ended
	return errors.Join(err, n.cmd.Wait())
}

// line is a line of the process: an answer, or a change of a client's state.
type line struct {
	ID     int    `json:"id"`
	Error  string `json:"error"`
	Client string `json:"client"`
	Live   bool   `json:"live"`
	At     int64  `json:"at"` // milliseconds since 1970
}

func (n *node) readLines(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		raw := append(json.RawMessage(nil), lines.Bytes()...)
		var l line
		err := json.Unmarshal(raw, &l)
		if err != nil {
			continue // a message of a library
		}

		n.mu.Lock()
		if l.Client != "" {
			n.states[l.Client] = clientState{live: l.Live, at: time.UnixMilli(l.At)}
			close(n.changed)
			n.changed = make(chan struct{})
		} else if answer := n.answers[l.ID]; answer != nil {
			delete(n.answers, l.ID)
			answer <- raw
		}
		n.mu.Unlock()
	}
}

// do sends a command and decodes its answer.
func (n *node) do(ctx context.Context, command string, parameters map[string]any, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	received := make(chan json.RawMessage, 1)
	n.mu.Lock()
	n.nextID++
	id := n.nextID
	n.answers[id] = received
	n.mu.Unlock()

	message := map[string]any{"id": id, "command": command}
	for name, value := range parameters {
		message[name] = value
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}

	_, err = n.stdin.Write(append(text, '\n'))
	if err != nil {
		return fmt.Errorf("send %s to node: %w", command, err)
	}

	select {
	case raw := <-received:
		var l line
		err := json.Unmarshal(raw, &l)
		if err != nil {
			return err
		}
		if l.Error != "" {
			return fmt.Errorf("%s: %s", command, l.Error)
		}
		return json.Unmarshal(raw, answer)
	case <-n.ended:
		return fmt.Errorf("node ended during %s: %s", command, n.cmd.Stderr)
	case <-ctx.Done():
		return fmt.Errorf("node must answer %s within %v: %s", command, nodeTimeout, n.cmd.Stderr)
	}
}

// stateTimeout is much longer than a client needs to notice an outage or its end.
const stateTimeout = 2 * time.Minute

// awaitState waits until a client becomes live, or stops being live, after a moment, and returns
// when.
func (n *node) awaitState(ctx context.Context, name string, live bool, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for {
		n.mu.Lock()
		state, known := n.states[name]
		changed := n.changed
		n.mu.Unlock()
		if known && state.live == live && state.at.After(after) {
			return state.at, nil
		}

		select {
		case <-changed:
		case <-n.ended:
			return time.Time{}, fmt.Errorf("node ended: %s", n.cmd.Stderr)
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("client %s must become live=%t within %v: %s", name, live, stateTimeout, n.cmd.Stderr)
		}
	}
}

// firstOutput keeps the first 4 KiB of a process's output.
type firstOutput struct {
	mu   sync.Mutex // protects text
	text []byte
}

const maxFirstOutput = 4 << 10

// Write implements io.Writer.
func (t *firstOutput) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p[:min(len(p), maxFirstOutput-len(t.text))]...)
	return len(p), nil
}

// String implements fmt.Stringer.
func (t *firstOutput) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
