package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// newTable aligns columns that are separated by tabs. The caller must call Flush.
func newTable(w io.Writer) *tabwriter.Writer {
	const padding = 2
	return tabwriter.NewWriter(w, 0, 0, padding, ' ', 0)
}

// printJSON writes v as indented JSON.
func printJSON(w io.Writer, v any) error {
	return printEscaped(w, v, "  ")
}

// printEscaped writes v as JSON. It escapes all control characters, because the reader may be a
// terminal.
func printEscaped(w io.Writer, v any, indent string) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		_, err := fmt.Fprintln(w, bus.EscapeControls(strings.TrimSuffix(line, "\n")))
		if err != nil {
			return err
		}
	}
	return nil
}

// pluralize returns a number with its noun, such as "1 entry" and "2 entries".
func pluralize(n int64, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case noun == "entry":
		return fmt.Sprintf("%d entries", n)
	case strings.HasSuffix(noun, "sh"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
