package bus_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/redroomrewards/realtime/pkg/bus"
)

var controls = []rune{0, '\t', '\n', 0x1b, 0x7f, 0x80, 0x9b, 0x9f, 0x061c, 0x200e, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069}

func TestPlainText(t *testing.T) {
	for _, s := range []string{"", "queue-1", "Zürich", "日本語", "שלום", "👩‍👩‍👧", "a\u00a0b", "\ufffd"} {
		if !bus.PlainText(s) {
			t.Errorf("%q: got false, want true", s)
		}
		if got := bus.EscapeControls(s); got != s {
			t.Errorf("%q: got %q, want no change", s, got)
		}
	}
	for _, r := range controls {
		if bus.PlainText("a" + string(r) + "b") {
			t.Errorf("%U: got true, want false", r)
		}
	}
	for _, s := range []string{"\xff", "a\xc3", "\xed\xa0\x80"} {
		if bus.PlainText(s) {
			t.Errorf("%q: got true, want false", s)
		}
	}
}

func TestPlainJSON(t *testing.T) {
	for _, value := range []string{
		`{}`, "{\n\t\"a\": 1\r\n}", `{"a":"x\ny\tz\r"}`, `{"a":"\u000a\u00e9\u2030"}`, `{"שלום":"日本語"}`,
		`{"a":"\\u202e"}`, `{"a":"\\\\u202e"}`, `{"a":"\/\""}`, `{"a":"\ud83d\ude00"}`,
	} {
		if !bus.PlainJSON([]byte(value)) {
			t.Errorf("%s: got false, want true", value)
		}
	}
	for _, value := range []string{
		"{\"a\":\"\u202e\"}", "{\"\u009b\":1}", "{\"a\":\"\x7f\"}", `{"a":"\u202E"}`, `{"a":"\u202e"}`, `{"a":"\\\u202e"}`,
		`{"\u0000":1}`, `{"a":"\u001b[2J"}`, `{"a":["\u009b"]}`, `{"a":"\b"}`, `{"a":"\f"}`,
	} {
		if bus.PlainJSON([]byte(value)) {
			t.Errorf("%s: got true, want false", value)
		}
	}
}

// PlainJSON agrees with a decoder.
func FuzzPlainJSON(f *testing.F) {
	f.Add([]byte(`{"a":"\\\u202e\n"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		var decoded any
		isText := strings.ToValidUTF8(string(value), "") == string(value)
		if json.Unmarshal(value, &decoded) != nil || !isText {
			return
		}
		want := !containsControl(decoded) && !strings.ContainsRune(string(value), 0x7f)
		if got := bus.PlainJSON(value); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	})
}

func containsControl(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.ContainsFunc(v, func(r rune) bool {
			isBreak := r == '\n' || r == '\r' || r == '\t'
			return !isBreak && !bus.PlainText(string(r)) && r != unicode.ReplacementChar
		})
	case []any:
		for _, item := range v {
			if containsControl(item) {
				return true
			}
		}
	case map[string]any:
		for name, item := range v {
			if containsControl(name) || containsControl(item) {
				return true
			}
		}
	}
	return false
}

// Escaped JSON has the same meaning.
func TestEscapeControls(t *testing.T) {
	for _, r := range controls {
		if r < ' ' {
			continue // encoding/json has escaped it
		}
		encoded, err := json.Marshal("a" + string(r))
		if err != nil {
			t.Fatal(err)
		}
		escaped := bus.EscapeControls(string(encoded))
		var decoded string
		err = json.Unmarshal([]byte(escaped), &decoded)
		if err != nil || decoded != "a"+string(r) || !bus.PlainText(escaped) {
			t.Errorf("%U: got %s, which decodes to %q (%v)", r, escaped, decoded, err)
		}
	}
	if got := bus.EscapeControls("\x1b[2J\xff"); got != `\u001b[2J`+"\ufffd" {
		t.Errorf("got %q", got)
	}
}
