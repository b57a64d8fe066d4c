package tail

import (
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

func TestRedirectionIsRecognized(t *testing.T) {
	r := &reader{byKey: map[string]int{}}
	err := r.parseReply([]byte("-ASK 3999 127.0.0.1:6381\r\n"))
	if !resp.IsRedirection(err) {
		t.Errorf("got error %v, want a redirection", err)
	}
}

func TestErrorReplyIsAnError(t *testing.T) {
	r := &reader{byKey: map[string]int{}}
	err := r.parseReply([]byte("-LOADING Redis is loading\r\n"))
	if err == nil {
		t.Error("got no error")
	}
	if resp.IsRedirection(err) {
		t.Errorf("got redirection %v, want another error", err)
	}
}

func TestEmptyReplyIsNoError(t *testing.T) {
	r := &reader{byKey: map[string]int{}}
	for _, reply := range []string{"*-1\r\n", "_\r\n", "*0\r\n"} {
		err := r.parseReply([]byte(reply))
		if err != nil {
			t.Errorf("parse %q: got error %v", reply, err)
		}
	}
}
