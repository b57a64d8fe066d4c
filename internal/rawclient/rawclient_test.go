package rawclient_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

func TestSubscribeResumes(t *testing.T) {
	s := rawclient.Subscribe{Sub: "wallet", Accounts: []string{"user:u1", "user:u2"}}
	s.Resume("user:u1", 4, "9f3ab2c1d4e5f607")
	s.Resume("user:u2", 0, "")
	got, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"op":"subscribe","sub":"wallet","accounts":["user:u1","user:u2"],` +
		`"after":{"user:u1":4,"user:u2":0},"chain":{"user:u1":"9f3ab2c1d4e5f607"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// An id counts only with the whole message that it belongs to.
func TestEventStreamTakesWholeMessages(t *testing.T) {
	const text = "retry: 3000\ndata: {\"op\":\"welcome\"}\n\n" +
		": a comment\n\n" +
		"id: one\ndata: {\"op\":\"subscribed\"}\n\n" +
		"id: two\ndata: {\"op\":\"event\""
	var lastID string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lastID = r.Header.Get("Last-Event-ID")
		_, _ = io.WriteString(w, text) // an error ends the stream, and the test fails
	}))
	defer server.Close()
	stream, err := rawclient.OpenEventStream(t.Context(), server.URL, "token", "zero", server.Client())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for _, want := range []struct{ op, lastID string }{{"welcome", "zero"}, {"subscribed", "one"}} {
		f, err := stream.Next()
		if err != nil || f.Op != want.op || stream.LastID != want.lastID {
			t.Errorf("got the frame %s with id %q and error %v, want %v", &f, stream.LastID, err, want)
		}
	}
	_, err = stream.Next()
	if !errors.Is(err, io.EOF) || stream.LastID != "one" {
		t.Errorf("cut message: got error %v and id %q, want EOF and one", err, stream.LastID)
	}
	if lastID != "zero" {
		t.Errorf("Last-Event-ID: got %q, want zero", lastID)
	}
}

func TestParseFrameRefusesMalformedFrames(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"op":"event"`, `{"op":"resync","snapshot":{"account":"user:u1","accountType":"user"}}`} {
		_, err := rawclient.ParseFrame([]byte(text))
		if !errors.Is(err, rawclient.ErrBadFrame) {
			t.Errorf("%s: got %v, want ErrBadFrame", text, err)
		}
	}
}
