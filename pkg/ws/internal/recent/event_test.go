package recent

import (
	"fmt"
	"testing"
)

// Subscriptions with the same name share a frame.
func TestFrameIsShared(t *testing.T) {
	e := &Event{Account: "user:u1", Seq: 7, Chain: 0xabc, Body: []byte(`{"a":1}`)}
	first := e.Frame("wallet", []byte(`"wallet"`))
	second := e.Frame("wallet", []byte(`"wallet"`))
	if &second[0] != &first[0] {
		t.Error("frames of two subscriptions named wallet: got two, want one")
	}
}

// Names beyond maxSharedFrames get correct frames too.
func TestFrameOfManyNames(t *testing.T) {
	e := &Event{Account: "user:u1", Seq: 7, Chain: 0xabc, Body: []byte(`{"a":1}`)}
	for i := range 1 + 2*maxSharedFrames {
		name := fmt.Sprint("sub", i)
		t.Run(name, func(t *testing.T) {
			quoted := fmt.Appendf(nil, "%q", name)
			got := string(e.Frame(name, quoted))
			want := `{"op":"event","sub":"` + name + `","account":"user:u1","seq":7,"chain":"0000000000000abc","event":{"a":1}}`
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// A detached body is independent of the buffer that it was read into.
func TestDetachBodyCopies(t *testing.T) {
	for name, buildFrame := range map[string]bool{
		"with a frame":    true,
		"without a frame": false,
	} {
		t.Run(name, func(t *testing.T) {
			buffer := []byte(`{"a":1}`)
			e := &Event{Account: "user:u1", Seq: 7, Chain: 0xabc, Body: buffer}
			if buildFrame {
				e.Frame("wallet", []byte(`"wallet"`))
			}
			e.DetachBody()
			copy(buffer, "overwritten")
			if string(e.Body) != `{"a":1}` {
				t.Errorf("body: got %s, want the original", e.Body)
			}
		})
	}
}
