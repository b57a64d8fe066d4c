// Package report writes what a benchmark found: tables in Markdown for people,
// JSON for programs, and the same tables into a README, so that no figure there
// is written by hand.
package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// A Document is a benchmark's outcome. Its JSON is the document itself.
type Document interface {
	// Name is the benchmark's, as scripts/bench calls it.
	Name() string
	// Text writes it as Markdown.
	Text(w io.Writer) error
}

// Options choose where a document goes.
type Options struct {
	JSON   bool
	Readme string
}

// Flags adds the options' flags.
func (o *Options) Flags(flags *flag.FlagSet) {
	flags.BoolVar(&o.JSON, "json", false, "print JSON instead of tables")
	flags.StringVar(&o.Readme, "readme", "", "also put the tables into this Markdown file, between <!-- bench:NAME --> and <!-- /bench:NAME -->")
}

// Write writes the document to w and, when asked to, into the README.
func Write(w io.Writer, d Document, o Options) error {
	var text bytes.Buffer
	if err := d.Text(&text); err != nil {
		return err
	}
	if o.Readme != "" {
		if err := update(o.Readme, d.Name(), text.Bytes()); err != nil {
			return err
		}
	}
	if !o.JSON {
		_, err := text.WriteTo(w)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

func update(file, name string, text []byte) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	updated, err := replace(old, name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, updated, 0o644) //nolint:gosec // a README is for everybody
}

// replace puts the text between the marks of a benchmark.
func replace(page []byte, name string, text []byte) ([]byte, error) {
	begin, end := []byte("<!-- bench:"+name+" -->\n"), []byte("<!-- /bench:"+name+" -->\n")
	head, rest, ok := bytes.Cut(page, begin)
	if !ok {
		return nil, fmt.Errorf("it lacks the line %s", bytes.TrimSpace(begin))
	}
	_, tail, ok := bytes.Cut(rest, end)
	if !ok {
		return nil, fmt.Errorf("it lacks the line %s after %s", bytes.TrimSpace(end), bytes.TrimSpace(begin))
	}
	return bytes.Join([][]byte{head, begin, bytes.TrimRight(text, "\n"), []byte("\n"), end, tail}, nil), nil
}

// Repeated tells of measurements that were thrown away; nothing of none.
func Repeated(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d measurements were thrown away because others used the machine meanwhile", n)
}
