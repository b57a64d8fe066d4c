package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// checkedStream is a stream of server-sent events. It checks the frames against the document.
type checkedStream struct {
	*testing.T
	doc    *document
	lines  *bufio.Scanner
	hasIDs bool // frames that change the client's position come with an id
}

// openStream makes a request with query parameters that the document must allow. The token is in the
// header, unless the parameters have one.
func (w *world) openStream(doc *document, token string, query map[string]any) *checkedStream {
	w.Helper()
	w.checkParameters(doc, query)
	values := url.Values{}
	for name, value := range query {
		values.Set(name, fmt.Sprint(value))
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/events?"+values.Encode(), nil)
	if err != nil {
		w.Fatal(err)
	}
	if query["access_token"] == nil {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: w.newTransport()}
	resp, err := client.Do(req)
	if err != nil {
		cancel()
		w.Fatal(err)
	}
	w.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
	})
	if resp.StatusCode != http.StatusOK {
		w.Fatalf("status of %v: got %s, want 200", query, resp.Status)
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		w.Fatalf("Content-Type of %v: got %s, want text/event-stream", query, got)
	}
	return &checkedStream{
		T:      w.T,
		doc:    doc,
		lines:  bufio.NewScanner(resp.Body),
		hasIDs: query["accounts"] != "*",
	}
}

// checkParameters checks query parameters against the document.
func (w *world) checkParameters(doc *document, query map[string]any) {
	w.Helper()
	given, err := json.Marshal(maps.Collect(maps.All(query))) // {} if query is nil
	if err != nil {
		w.Fatal(err)
	}
	err = doc.checkValue(streamParameters, parseJSON(w.T, given))
	if err != nil {
		w.Errorf("%v: %v", query, err)
	}
}

var (
	idLine      = regexp.MustCompile(`^id: \S+$`)
	normalRetry = regexp.MustCompile(`^retry: 3000$`)
	drainRetry  = regexp.MustCompile(`^retry: \d{4,}$`)
)

// expectFrames reads frames with these ops, in that order. It also checks the lines before their
// data: an id if the frame changes the client's position, and retry with welcome and reconnect.
func (s *checkedStream) expectFrames(ops ...string) {
	s.Helper()
	for _, op := range ops {
		data, before := s.readEvent()
		frame := parseJSON(s.T, []byte(data))
		err := s.doc.checkFrame(serverSentChannel, frame)
		if err != nil {
			s.Errorf("%s: %v", data, err)
		}
		object, _ := frame.(map[string]any)
		if object["op"] != op {
			s.Fatalf("frame: got %s, want %s", data, op)
		}
		s.checkLines(op, before)
	}
}

// readEvent returns the data of the next event and the lines before it, without heartbeats.
func (s *checkedStream) readEvent() (data string, before []string) {
	s.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		data, isData := strings.CutPrefix(line, "data: ")
		if isData {
			return data, before
		}
		if line != "" && line != ":" {
			before = append(before, line)
		}
	}
	s.Fatalf("read event: got the end of the stream (%v)", s.lines.Err())
	return "", nil
}

// checkLines checks the lines before the data of a frame.
func (s *checkedStream) checkLines(op string, lines []string) {
	s.Helper()
	var want *regexp.Regexp
	switch op {
	case "subscribed", "event", "resync":
		if s.hasIDs {
			want = idLine
		}
	case "welcome":
		want = normalRetry
	case "reconnect":
		want = drainRetry
	}
	if want == nil {
		if len(lines) > 0 {
			s.Errorf("lines before %s: got %q, want none", op, lines)
		}
		return
	}
	if len(lines) != 1 || !want.MatchString(lines[0]) {
		s.Errorf("lines before %s: got %q, want one that matches %s", op, lines, want)
	}
}

// checkServerSentEvents follows checkSubscriptions: user:u1 has 19 events.
func (w *world) checkServerSentEvents(doc *document) {
	w.Helper()
	own := w.tokenFor(time.Hour, "", "user:u1")
	filtered := w.openStream(doc, own, map[string]any{
		"accounts":  "user:u1",
		"types":     "wallet.escrow_held,wallet.escrow_settled",
		"reasons":   "chip_menu_purchase",
		"features":  "chip_menu",
		"minAmount": 100,
		"after":     "user:u1=1",
		"snapshot":  false,
	})
	filtered.expectFrames("welcome", "subscribed", "event", "event", "event")
	for _, name := range []string{"lastEventId", "Last-Event-ID"} {
		resumed := w.openStream(doc, own, map[string]any{name: "user:u1=18"})
		resumed.expectFrames("welcome", "subscribed", "event")
	}
	inQuery := w.openStream(doc, "", map[string]any{"access_token": own, "snapshot": true})
	inQuery.expectFrames("welcome", "subscribed")
	all := w.openStream(doc, w.tokenFor(time.Hour, auth.ScopeEvents), map[string]any{"accounts": "*"})
	all.expectFrames("welcome", "subscribed")
	w.creditPoints("user:u1", 10, "k2")
	all.expectFrames("event")

	err := doc.validate(streamParameters, parseJSON(w.T, []byte(`{"account":"user:u1"}`)))
	if err == nil {
		w.Error("an unknown parameter: got no error from the document, want one")
	}
	w.get(w.url+"/v1/events?account=user:u1", own).expectStatus(w.T, http.StatusBadRequest)
}
