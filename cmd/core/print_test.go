package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// A subscriber's error can contain what a client sent. It must not control the terminal.
func TestDeadLettersAreEscaped(t *testing.T) {
	const hostile = "\x1b]0;title\a\u009b2J\u202e\tcolumn\x7f"
	letter := coreadmin.DeadLetter{
		ID:         "1-1",
		Subscriber: hostile,
		EventType:  hostile,
		Account:    hostile,
		Error:      hostile + "\nsecond line",
		Event:      json.RawMessage(`{"a":"` + "\u009b2J\x7f" + `"}`),
		Entry:      map[string]string{hostile: hostile},
	}
	var table, lines, indented strings.Builder
	err := printLetters(&table, []coreadmin.DeadLetter{letter})
	if err != nil {
		t.Fatal(err)
	}
	err = printLettersJSON(&lines, []coreadmin.DeadLetter{letter})
	if err != nil {
		t.Fatal(err)
	}
	err = printJSON(&indented, letter)
	if err != nil {
		t.Fatal(err)
	}

	for name, out := range map[string]string{
		"table": table.String(), "JSON Lines": lines.String(), "JSON": indented.String(),
	} {
		if !bus.PlainText(strings.ReplaceAll(out, "\n", "")) {
			t.Errorf("%s: got control characters in %q", name, out)
		}
		if !strings.Contains(out, `\u001b]0;title`) {
			t.Errorf("%s: got no escaped text in %q", name, out)
		}
	}
	var decoded coreadmin.DeadLetter
	err = json.Unmarshal([]byte(lines.String()), &decoded)
	if err != nil || decoded.Error != letter.Error {
		t.Errorf("got error %q after decoding (%v), want %q", decoded.Error, err, letter.Error)
	}
}
