// Package report writes the results of a benchmark: tables in Markdown for people, JSON for
// programs. It can also put the tables into a README, so that figures need not be copied by hand.
package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// A Document holds a benchmark's results. Its JSON is the document itself.
type Document interface {
	// Name returns the benchmark's name in scripts/bench.
	Name() string
	// Text writes the document as Markdown.
	Text(w io.Writer) error
}

// Options choose where a document is written.
type Options struct {
	JSON    bool
	Readme  string
	Section string
}

// Flags adds the options' flags.
func (o *Options) Flags(flags *flag.FlagSet) {
	flags.BoolVar(&o.JSON, "json", false, "print JSON instead of tables")
	flags.StringVar(&o.Readme, "readme", "",
		"also write the tables into this Markdown file, between <!-- bench:SECTION --> and <!-- /bench:SECTION -->")
	flags.StringVar(&o.Section, "section", "", "SECTION of --readme; default: the benchmark's name")
}

// Write writes the document to w and, with --readme, into that file.
func Write(w io.Writer, d Document, o Options) error {
	var text bytes.Buffer
	err := d.Text(&text)
	if err != nil {
		return err
	}
	if o.Readme != "" {
		section := o.Section
		if section == "" {
			section = d.Name()
		}

		err := updateSection(o.Readme, section, text.Bytes())
		if err != nil {
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

// updateSection replaces a section of a file.
func updateSection(file, section string, text []byte) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}

	updated, err := replaceSection(old, section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, updated, 0o644) //nolint:gosec // a README is public
}

// replaceSection replaces the text between the two comments that mark a section.
func replaceSection(page []byte, section string, text []byte) ([]byte, error) {
	begin := []byte("<!-- bench:" + section + " -->\n")
	end := []byte("<!-- /bench:" + section + " -->\n")
	head, rest, ok := bytes.Cut(page, begin)
	if !ok {
		return nil, fmt.Errorf("there must be a line %s", bytes.TrimSpace(begin))
	}

	_, tail, ok := bytes.Cut(rest, end)
	if !ok {
		return nil, fmt.Errorf("there must be a line %s after %s",
			bytes.TrimSpace(end), bytes.TrimSpace(begin))
	}

	parts := [][]byte{head, begin, bytes.TrimRight(text, "\n"), []byte("\n"), end, tail}
	return bytes.Join(parts, nil), nil
}

// Repeated returns a clause about the measurements that were discarded. It is empty for n = 0.
func Repeated(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d measurements were discarded because other processes disturbed them", n)
}
