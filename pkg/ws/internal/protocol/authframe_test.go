package protocol

import (
	"strings"
	"testing"
)

func TestParseAuthFrame(t *testing.T) {
	longToken := strings.Repeat("t", 8<<10)
	for name, tc := range map[string]struct {
		message string
		token   string
		rest    string
	}{
		"one frame":        {`{"op":"auth","token":"t"}`, "t", ""},
		"white space":      {" \n{ \"token\" : \"t\",\"op\":\"auth\" }\r\n", "t", ""},
		"frames after it":  {`{"op":"auth","token":"t"}` + "\n" + `{"op":"ping"} {`, "t", `{"op":"ping"} {`},
		"deep frame after": {`{"op":"auth","token":"t"}` + nestFrame(100), "t", nestFrame(100)},
		"brackets in text": {`{"op":"auth","token":"[{[{"}`, "[{[{", ""},
		"no token":         {`{"op":"auth"}`, "", ""},
		"token of 8 KiB":   {`{"op":"auth","token":"` + longToken + `"}`, longToken, ""},
	} {
		t.Run(name, func(t *testing.T) {
			token, rest, ok := ParseAuthFrame([]byte(tc.message))
			if !ok {
				t.Fatal("the frame was refused, want it accepted")
			}
			if token != tc.token {
				t.Errorf("token: got %q, want %q", token, tc.token)
			}
			if string(rest) != tc.rest {
				t.Errorf("rest: got %q, want %q", rest, tc.rest)
			}
		})
	}
}

func TestParseAuthFrameRefusesAnythingElse(t *testing.T) {
	auth := `{"op":"auth","token":"t"}`
	for name, message := range map[string]string{
		"empty":          "",
		"no JSON":        "hello",
		"incomplete":     `{"op":"auth","token":"t"`,
		"text before":    "x" + auth,
		"an array":       "[" + auth + "]",
		"another op":     `{"op":"ping"}`,
		"op with auth":   `{"op":"ping"}` + auth,
		"other member":   `{"op":"auth","token":"t","sub":"s"}`,
		"token twice":    `{"op":"auth","token":"t","token":"t"}`,
		"null token":     `{"op":"auth","token":null}`,
		"nested token":   `{"op":"auth","token":{}}`,
		"nested deep":    nestFrame(2_600),
		"larger than it": `{"op":"auth","token":"` + strings.Repeat("t", MaxAuthBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, _, ok := ParseAuthFrame([]byte(message))
			if ok {
				t.Error("the message was accepted, want it refused")
			}
		})
	}
}

// Anybody can send these messages. They are refused before a parser sees them.
func TestHostileFirstFramesAllocateNothing(t *testing.T) {
	const size = 15_600
	for name, message := range map[string]string{
		"nested objects": strings.Repeat(`{"op":`, size/6),
		"nested arrays":  strings.Repeat(`[`, size),
		"many members":   `{` + strings.Repeat(`"a":1,`, size/6),
		"long text":      `{"op":"auth","token":"` + strings.Repeat("t", size),
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(message)
			allocations := testing.AllocsPerRun(10, func() { _, _, _ = ParseAuthFrame(data) })
			if allocations != 0 {
				t.Errorf("got %v allocations, want 0", allocations)
			}
		})
	}
}

// An auth frame that ParseAuthFrame accepts is the same frame to ForEachFrame.
func FuzzParseAuthFrame(f *testing.F) {
	f.Add([]byte(`{"op":"auth","token":"t"}` + "\n" + `{"op":"ping"}`))
	f.Add([]byte(` {"token":"\u007b}\"","op":"auth"}x`))
	f.Add([]byte(`{"op":"auth","token":null}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		token, rest, ok := ParseAuthFrame(message)
		if !ok {
			return
		}

		var first *ClientFrame
		ForEachFrame(message, func(f ClientFrame, refused *Refusal) bool {
			if refused == nil {
				first = &f
			}
			return false
		})
		if first == nil || first.Op != OpAuth {
			t.Fatalf("got %v as the first frame of %q, want auth", first, message)
		}
		want := ""
		if first.Token != nil {
			want = *first.Token
		}
		if token != want {
			t.Errorf("token: got %q, want %q", token, want)
		}
		if len(rest) >= len(message) {
			t.Errorf("rest: got %q of %q, want less", rest, message)
		}
	})
}
