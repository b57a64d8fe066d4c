package protocol

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A frame that nests too deep is malformed, wherever it stands in a message, and what comes before
// it is done.
func TestDeepFrames(t *testing.T) {
	nested := func(levels int) string {
		return strings.Repeat(`{"x":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
	}
	deep := fmt.Sprintf("a frame nests at most %d levels deep", MaxNesting)
	for name, tc := range map[string]struct {
		message string
		want    []string // the refusals; empty for a frame that is done
	}{
		"8 levels":             {nested(8), []string{"op is one of auth, subscribe, unsubscribe, ping"}},
		"9 levels":             {nested(9), []string{deep}},
		"9 arrays":             {strings.Repeat("[", 9), []string{deep}},
		"10,000 levels":        {nested(10_000), []string{deep}},
		"after white space":    {" \n" + nested(9), []string{deep}},
		"after a frame":        {`{"op":"ping"}` + nested(9), []string{"", deep}},
		"after rubbish":        {"x" + nested(9), []string{"a frame is a JSON object"}},
		"before a frame":       {nested(9) + "\n" + `{"op":"ping"}`, []string{deep}},
		"brackets in a string": {`{"op":"unsubscribe","sub":"\"[[[[[[[[[[\\"}`, []string{""}},
		"many shallow frames":  {strings.Repeat(`{"op":"ping"} `, 20), make([]string, 20)},
		"closed too often":     {"]]]]" + nested(9), []string{"a frame is a JSON object"}},
	} {
		var got []string
		EachFrame([]byte(tc.message), func(_ ClientFrame, refused *Refusal) bool {
			message := ""
			if refused != nil {
				message = refused.Message
				if !refused.Malformed {
					t.Errorf("%s: %q does not count as malformed", name, message)
				}
			}
			got = append(got, message)
			return true
		})
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
