// Command scenarioadapter connects the Go client to the runner of clients/scenarios.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

func main() {
	err := serve(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// maxCommandSize is far above the size of any command.
const maxCommandSize = 1 << 20

// serve runs the commands of the input, one JSON object in a line, one after the other.
func serve(input io.Reader, output io.Writer) error {
	out := &lineWriter{encoder: json.NewEncoder(output)}
	out.write(object{"hello": object{
		"protocol": 1,
		"client":   "go",
		"features": []string{"ends-readers", "header-auth", "http-status"},
	}})

	a := newApp(out.write)
	defer a.reset("")
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxCommandSize)
	for lines.Scan() {
		var c command
		err := json.Unmarshal(lines.Bytes(), &c)
		if err != nil {
			return err
		}
		answer, err := a.run(&c)
		if err != nil {
			answer = object{"error": err.Error()}
		}
		if answer == nil {
			answer = object{}
		}
		answer["id"] = c.ID
		out.write(answer)
	}
	return lines.Err()
}

// object is a JSON object of the protocol.
type object map[string]any

// lineWriter writes one object in a line.
type lineWriter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (w *lineWriter) write(o object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.encoder.Encode(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "write:", err) // the runner has ended
	}
}
