package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Write writes the report for a person, or as JSON.
func (r *Report) Write(w io.Writer, asJSON bool) error {
	if asJSON {
		return r.writeJSON(w)
	}
	return r.writeText(w)
}

// writeText writes one line for each check, and a line with the result of all. Control characters,
// which may come from a server, are escaped, because the reader may be a terminal.
func (r *Report) writeText(w io.Writer) error {
	width := 0
	for _, result := range r.Results {
		width = max(width, len(result.Check))
	}
	var text strings.Builder
	for _, result := range r.Results {
		line := fmt.Sprintf("%-4s  %-*s  %s", result.Status, width, result.Check, result.Found)
		if result.Fix != "" {
			line += "; " + result.Fix
		}
		if result.Docs != "" {
			line += " (" + result.Docs + ")"
		}
		text.WriteString(bus.EscapeControls(line) + "\n")
	}
	text.WriteString(r.summarize() + "\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// summarize returns the result of all checks in words.
func (r *Report) summarize() string {
	skipped := 0
	for _, result := range r.Results {
		if result.Status == Skip {
			skipped++
		}
	}
	return fmt.Sprintf("%d checks: %d failed, %d with a warning, %d skipped",
		len(r.Results), r.Failures, r.Warnings, skipped)
}

// writeJSON writes the report as indented JSON.
func (r *Report) writeJSON(w io.Writer) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(r)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text.String())
	return err
}
