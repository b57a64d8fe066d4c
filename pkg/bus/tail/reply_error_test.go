package tail

import (
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

func TestReplyErrorsAreSeen(t *testing.T) {
	r := &reader{byName: map[string]int{}}
	if err := r.parse([]byte("-ASK 3999 127.0.0.1:6381\r\n")); !resp.IsRedirection(err) {
		t.Errorf("error %v is not seen as a redirection", err)
	}
	if err := r.parse([]byte("-LOADING Redis is loading\r\n")); err == nil || resp.IsRedirection(err) {
		t.Errorf("error %v", err)
	}
	for _, null := range []string{"*-1\r\n", "_\r\n", "*0\r\n"} {
		if err := r.parse([]byte(null)); err != nil {
			t.Errorf("%q: %v", null, err)
		}
	}
}
