package bus

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PlainText reports whether s is UTF-8 without control characters. These are C0, DEL and C1, which
// change what a terminal or a log shows, and the Bidi_Control characters, which show a text in
// another order than its own.
func PlainText(s string) bool {
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			if s[i] < ' ' || s[i] == 0x7f {
				return false
			}
			i++
			continue
		}

		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || isControl(r) {
			return false
		}
		i += size
	}

	return true
}

// PlainJSON reports whether the strings of a JSON value are plain texts. Within them, line breaks
// and tabs are allowed, as \n, \r and \t. The value must be valid JSON in UTF-8.
func PlainJSON(value []byte) bool {
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '\\':
			if isEscapedControl(value[i+1:]) {
				return false
			}
			i += 2
		case c < utf8.RuneSelf:
			if c == 0x7f {
				return false
			}
			i++
		default:
			r, size := utf8.DecodeRune(value[i:])
			if isControl(r) {
				return false
			}
			i += size
		}
	}

	return true
}

// isEscapedControl reports whether escape, the JSON after a backslash, begins with the escape
// sequence of a control character.
func isEscapedControl(escape []byte) bool {
	switch {
	case len(escape) == 0:
		return false
	case escape[0] == 'b' || escape[0] == 'f':
		return true
	case escape[0] != 'u' || len(escape) < 5:
		return false
	}

	code, err := strconv.ParseUint(string(escape[1:5]), 16, 16)
	r := rune(code) //nolint:gosec // 16 bits
	isBreak := r == '\n' || r == '\r' || r == '\t'
	return err == nil && !isBreak && isControl(r)
}

// isControl reports whether r is a control character. See PlainText.
func isControl(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// EscapeControls returns s with control characters in the form \u001b, and with U+FFFD in place of
// invalid UTF-8, so that s can be written to a terminal. In a string of JSON, the meaning stays the
// same.
func EscapeControls(s string) string {
	if PlainText(s) {
		return s
	}

	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			_, _ = fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}

	return b.String()
}
