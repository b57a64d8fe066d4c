// Package adapter starts the adapter of a client and speaks with it over its standard input and
// output. The README in clients/scenarios describes the commands and reports.
package adapter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// protocolVersion is the version of the commands and reports.
const protocolVersion = 1

// waitDelay bounds how long the adapter's own children may keep its output open.
const waitDelay = 5 * time.Second

const (
	maxLine      = 1 << 20
	maxErrorText = 16 << 10
)

// An Adapter is a running adapter. One goroutine at a time may send commands.
type Adapter struct {
	Client   string
	Features []string

	cmd     *exec.Cmd
	input   io.WriteCloser
	answers chan map[string]any
	ended   chan struct{} // closed when the adapter has ended
	lastID  float64
	broken  bool // an answer is missing or was wrong

	mu     sync.Mutex
	errors bytes.Buffer              // the newest standard error
	sink   func(kind map[string]any) // gets the reports
	bad    error                     // why the output could not be read
}

// Start starts an adapter and reads its hello.
func Start(command []string, wait time.Duration) (*Adapter, error) {
	a := &Adapter{
		cmd:     exec.CommandContext(context.Background(), command[0], command[1:]...),
		answers: make(chan map[string]any, 1),
		ended:   make(chan struct{}),
		sink:    func(map[string]any) {},
	}
	input, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.input = input
	a.cmd.Stderr = errorWriter{a}
	a.cmd.WaitDelay = waitDelay
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go a.readOutput(output)
	hello, err := a.readAnswer(wait)
	if err != nil {
		a.Stop()
		return nil, fmt.Errorf("the first line of %q must be a hello: %w", command, err)
	}
	if err := a.readHello(hello); err != nil {
		a.Stop()
		return nil, err
	}
	return a, nil
}

func (a *Adapter) readHello(line map[string]any) error {
	hello, ok := line["hello"].(map[string]any)
	if !ok {
		return fmt.Errorf("the first line must be a hello, and is %v", line)
	}
	if hello["protocol"] != float64(protocolVersion) {
		return fmt.Errorf("the adapter must have the protocol %d, and has %v", protocolVersion, hello["protocol"])
	}
	a.Client, _ = hello["client"].(string)
	features, _ := hello["features"].([]any)
	for _, f := range features {
		a.Features = append(a.Features, fmt.Sprint(f))
	}
	slices.Sort(a.Features)
	return nil
}

// Listen passes the reports that follow to a function, from one goroutine.
func (a *Adapter) Listen(sink func(report map[string]any)) {
	a.mu.Lock()
	a.sink = sink
	a.mu.Unlock()
}

// IsUsable tells whether the adapter has answered all commands.
func (a *Adapter) IsUsable() bool { return !a.broken }

// Send sends a command and returns the answer. The reports before the answer have been passed to
// the listener.
func (a *Adapter) Send(command map[string]any, wait time.Duration) (map[string]any, error) {
	answer, err := a.sendCommand(command, wait)
	if err != nil {
		a.broken = true
	}
	return answer, err
}

func (a *Adapter) sendCommand(command map[string]any, wait time.Duration) (map[string]any, error) {
	a.lastID++
	message := map[string]any{"id": a.lastID}
	for name, value := range command {
		message[name] = value
	}
	line, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if _, err := a.input.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("writing to the adapter: %w%s", err, a.errorText())
	}
	answer, err := a.readAnswer(wait)
	if err != nil {
		return nil, fmt.Errorf("the adapter must answer %s: %w", line, err)
	}
	if answer["id"] != a.lastID {
		return nil, fmt.Errorf("the adapter must answer the command %v, and answered %v", a.lastID, answer["id"])
	}
	if text, failed := answer["error"]; failed {
		return nil, fmt.Errorf("the adapter could not do %s: %v%s", line, text, a.errorText())
	}
	return answer, nil
}

// Stop ends the adapter's process.
func (a *Adapter) Stop() {
	_ = a.input.Close()
	_ = a.cmd.Process.Kill()
	<-a.ended
}

func (a *Adapter) readAnswer(wait time.Duration) (map[string]any, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case answer := <-a.answers:
		return answer, nil
	case <-a.ended:
		return a.readLastAnswer()
	case <-timer.C:
		return nil, fmt.Errorf("no answer after %s%s", wait, a.errorText())
	}
}

// readLastAnswer returns the answer that an adapter gave before it ended, or an error if there is none.
func (a *Adapter) readLastAnswer() (map[string]any, error) {
	select {
	case answer := <-a.answers:
		return answer, nil
	default:
	}
	a.mu.Lock()
	bad := a.bad
	a.mu.Unlock()
	return nil, fmt.Errorf("the adapter ended: %w%s", bad, a.errorText())
}

// readOutput reads until the adapter has ended, and all of its standard error is there.
func (a *Adapter) readOutput(output io.Reader) {
	defer close(a.ended)
	defer func() { _ = a.cmd.Wait() }()
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			a.fail(fmt.Errorf("every line must be a JSON object: %q: %w", lines.Text(), err))
			return
		}
		if _, isReport := line["report"]; isReport {
			a.mu.Lock()
			sink := a.sink
			a.mu.Unlock()
			sink(line)
			continue
		}
		select {
		case a.answers <- line:
		default:
			a.fail(fmt.Errorf("an answer without a command: %s", lines.Text()))
			return
		}
	}
	a.fail(errors.Join(io.EOF, lines.Err()))
}

func (a *Adapter) fail(err error) {
	a.mu.Lock()
	a.bad = err
	a.mu.Unlock()
	_ = a.cmd.Process.Kill()
}

func (a *Adapter) errorText() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.errors.Len() == 0 {
		return ""
	}
	return "\nstandard error of the adapter:\n" + a.errors.String()
}

// An errorWriter keeps the newest part of the standard error.
type errorWriter struct{ a *Adapter }

func (w errorWriter) Write(p []byte) (int, error) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.errors.Write(p)
	if surplus := w.a.errors.Len() - maxErrorText; surplus > 0 {
		w.a.errors.Next(surplus)
	}
	return len(p), nil
}
