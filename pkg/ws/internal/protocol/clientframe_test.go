package protocol

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// nestFrame returns a JSON object with that many levels.
func nestFrame(levels int) string {
	return strings.Repeat(`{"x":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
}

// A frame that nests too deep is malformed at any place in a message. The frames before it are
// handled.
func TestDeepFrameIsMalformed(t *testing.T) {
	tooDeep := fmt.Sprintf("a frame must nest at most %d levels deep", MaxNesting)
	for name, tc := range map[string]struct {
		message string
		want    []string // the messages of the refusals; "" for a frame that is accepted
	}{
		"8 levels": {
			message: nestFrame(8),
			want:    []string{opMessage},
		},
		"9 levels": {
			message: nestFrame(9),
			want:    []string{tooDeep},
		},
		"9 arrays": {
			message: strings.Repeat("[", 9),
			want:    []string{tooDeep},
		},
		"10,000 levels": {
			message: nestFrame(10_000),
			want:    []string{tooDeep},
		},
		"after white space": {
			message: " \n" + nestFrame(9),
			want:    []string{tooDeep},
		},
		"after a frame": {
			message: `{"op":"ping"}` + nestFrame(9),
			want:    []string{"", tooDeep},
		},
		"after invalid JSON": {
			message: "x" + nestFrame(9),
			want:    []string{objectMessage},
		},
		"before a frame": {
			message: nestFrame(9) + "\n" + `{"op":"ping"}`,
			want:    []string{tooDeep},
		},
		"brackets in a string": {
			message: `{"op":"unsubscribe","sub":"\"[[[[[[[[[[\\"}`,
			want:    []string{""},
		},
		"many shallow frames": {
			message: strings.Repeat(`{"op":"ping"} `, 20),
			want:    make([]string, 20),
		},
		"too many closing brackets": {
			message: "]]]]" + nestFrame(9),
			want:    []string{objectMessage},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			ForEachFrame([]byte(tc.message), func(_ ClientFrame, refused *Refusal) bool {
				message := ""
				if refused != nil {
					message = refused.Message
					if !refused.Malformed {
						t.Errorf("refusal %q: got Malformed false, want true", message)
					}
				}
				got = append(got, message)
				return true
			})
			if !slices.Equal(got, tc.want) {
				t.Errorf("got refusals %q, want %q", got, tc.want)
			}
		})
	}
}
