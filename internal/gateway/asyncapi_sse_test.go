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

// listening is a stream of server-sent events, on which the frames are checked against the document.
type listening struct {
	*testing.T
	doc   *document
	lines *bufio.Scanner
}

// listen asks with these parameters, which the document must allow. Without a token among them it goes into the header.
func (w *world) listen(doc *document, raw string, query map[string]any) *listening {
	w.Helper()
	values := url.Values{}
	for name, value := range query {
		values.Set(name, fmt.Sprint(value))
	}
	given, err := json.Marshal(maps.Collect(maps.All(query))) // {} when there are none
	if err != nil {
		w.Fatal(err)
	}
	if err := doc.checkAt(parameters, parseJSON(w.T, given)); err != nil {
		w.Errorf("%v: %v", query, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/events?"+values.Encode(), nil)
	if err != nil {
		w.Fatal(err)
	}
	if query["access_token"] == nil {
		req.Header.Set("Authorization", "Bearer "+raw)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		cancel()
		w.Fatal(err)
	}
	w.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		w.Fatalf("%v: %s %s", query, resp.Status, resp.Header.Get("Content-Type"))
	}
	return &listening{T: w.T, doc: doc, lines: bufio.NewScanner(resp.Body)}
}

var (
	idOf    = regexp.MustCompile(`^id: \S+$`)
	retryOf = regexp.MustCompile(`^retry: \d+$`)
)

// hear takes frames of these ops, in that order, with the lines that belong to them: an id with what moves the client on,
// unless all says that it has none; retry with reconnect.
func (l *listening) hear(ops ...string) { l.Helper(); l.hearAll(false, ops...) }

func (l *listening) hearAll(all bool, ops ...string) {
	l.Helper()
	for _, op := range ops {
		var before []string
		for l.lines.Scan() && !strings.HasPrefix(l.lines.Text(), "data: ") {
			if line := l.lines.Text(); line != "" && line != ":" {
				before = append(before, line)
			}
		}
		data, ok := strings.CutPrefix(l.lines.Text(), "data: ")
		if !ok {
			l.Fatalf("the stream ended before %s: %v", op, l.lines.Err())
		}
		frame := parseJSON(l.T, []byte(data))
		if err := l.doc.check(serverSent, frame); err != nil {
			l.Errorf("%s: %v", data, err)
		}
		if object, ok := frame.(map[string]any); !ok || object["op"] != op {
			l.Fatalf("got %s, want %s", data, op)
		}
		var want *regexp.Regexp
		switch op {
		case "subscribed", "event", "resync":
			if !all {
				want = idOf
			}
		case "reconnect":
			want = retryOf
		}
		if want == nil && len(before) > 0 || want != nil && (len(before) != 1 || !want.MatchString(before[0])) {
			l.Errorf("%s comes with %q", op, before)
		}
	}
}

// serverSent is after everyOperation: user:u1 has had 19 events.
func (w *world) serverSent(doc *document) {
	w.Helper()
	own := w.tokenFor(time.Hour, "", "user:u1")
	w.listen(doc, own, map[string]any{
		"accounts": "user:u1", "types": "wallet.escrow_held,wallet.escrow_settled", "reasons": "chip_menu_purchase", "features": "chip_menu",
		"minAmount": 100, "after": "user:u1=1", "snapshot": false,
	}).hear("welcome", "subscribed", "event", "event", "event")
	w.listen(doc, "", map[string]any{"access_token": own, "snapshot": true}).hear("welcome", "subscribed")
	all := w.listen(doc, w.tokenFor(time.Hour, auth.ScopeEvents), map[string]any{"accounts": "*"})
	all.hearAll(true, "welcome", "subscribed")
	w.credit("user:u1", 10, "k2")
	all.hearAll(true, "event")

	if err := doc.validate(parameters, parseJSON(w.T, []byte(`{"account":"user:u1"}`))); err == nil {
		w.Error("the document allows a parameter that there is not")
	}
	if r := w.get(w.url+"/v1/events?account=user:u1", own); r.status != http.StatusBadRequest {
		w.Errorf("a parameter that there is not: %d", r.status)
	}
}
