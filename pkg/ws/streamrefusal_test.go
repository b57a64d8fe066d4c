package ws

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// queryList formats n values for a query parameter.
func queryList(n int, format string) string {
	return strings.Trim(formatList(n, format), "[]")
}

// addLastEventID returns a header with the token and Last-Event-ID.
func addLastEventID(token, id string) http.Header {
	h := bearerHeader(token)
	h.Set("Last-Event-ID", id)
	return h
}

// checkStreamRefusal checks that a request for a stream is refused with a JSON body.
func (g *gateway) checkStreamRefusal(
	t *testing.T, query string, header http.Header, status int,
) *http.Response {
	t.Helper()
	resp, _ := g.requestStream(query, header)
	checkEqual(t, "status", resp.StatusCode, status)
	checkEqual(t, "Content-Type", resp.Header.Get("Content-Type"), "application/json")
	return resp
}

func TestInvalidStreamQueryIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "user:u1"})
	header := bearerHeader(token)
	all := bearerHeader(mintToken(t, Identity{Subject: "app", AllAccounts: true}))
	for name, tc := range map[string]struct {
		query  string
		header http.Header
	}{
		"two tokens":          {"access_token=" + token, header},
		"two headers":         {"", http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}}},
		"invalid account":     {"accounts=nonsense", header},
		"65 accounts":         {"accounts=" + queryList(65, "user:u%d"), header},
		"33 types":            {"types=" + queryList(33, "t%d"), header},
		"unknown parameter":   {"type=x", header},
		"malformed query":     {"types=%zz", header},
		"minAmount twice":     {"minAmount=1&minAmount=2", header},
		"minAmount as text":   {"minAmount=x", header},
		"minAmount 0":         {"minAmount=0", header},
		"snapshot is 1":       {"snapshot=1", header},
		"negative seq":        {"after=user:u1=-1", header},
		"after of another":    {"after=user:u2=1", header},
		"after of all":        {"accounts=*&after=user:u1=1", all},
		"token of no account": {"", all},
		"id of two digits":    {"", addLastEventID(token, "17")},
		"id of eight letters": {"", addLastEventID(token, "nonsense")},
		"id without seqs":     {"", addLastEventID(token, "0123abcd")},
		"id in a parameter":   {"lastEventId=17", header},
		"id twice":            {"lastEventId=user:u1=1&lastEventId=user:u1=1", header},
		"two different ids":   {"lastEventId=user:u1=1&Last-Event-ID=user:u1=2", header},
	} {
		t.Run(name, func(t *testing.T) {
			g.checkStreamRefusal(t, tc.query, tc.header, http.StatusBadRequest)
		})
	}
	checkEqual(t, "connections", g.hub.Stats().Connections, 0)
}

func TestUnauthorizedStreamIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	for name, tc := range map[string]struct {
		query  string
		header http.Header
	}{
		"no token":             {"", nil},
		"bad token":            {"", bearerHeader("x.y.z")},
		"bad token in the URL": {"access_token=x", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g.checkStreamRefusal(t, tc.query, tc.header, http.StatusUnauthorized)
		})
	}
}

func TestForbiddenStreamIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "user:u1"})
	revoked := mintToken(t, Identity{Subject: "user:u2", TokenID: "t1"})
	g.revokeToken("t1")
	otherOrigin := bearerHeader(token)
	otherOrigin.Set("Origin", "https://evil.example")
	for name, tc := range map[string]struct {
		query  string
		header http.Header
	}{
		"revoked token": {"", bearerHeader(revoked)},
		"other origin":  {"", otherOrigin},
		"other account": {"accounts=user:u2", bearerHeader(token)},
		"all accounts":  {"accounts=*", bearerHeader(token)},
	} {
		t.Run(name, func(t *testing.T) {
			g.checkStreamRefusal(t, tc.query, tc.header, http.StatusForbidden)
		})
	}
	stats := g.hub.Stats()
	checkEqual(t, "connections", stats.Connections, 0)
	checkEqual(t, "subscriptions", stats.Subscriptions, 0)
}

func TestStreamIsRefusedWhileCoreIsDown(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.stopCore()
	header := bearerHeader(mintToken(t, Identity{Subject: "user:u1"}))
	resp := g.checkStreamRefusal(t, "", header, http.StatusServiceUnavailable)
	checkRetryAfter(t, resp)
	checkEqual(t, "subscriptions", g.hub.Stats().Subscriptions, 0)
}

func TestTooManyStreamsOfAccount(t *testing.T) {
	g := newGateway(t, Config{MaxConnectionsPerAccount: 1})
	g.login("user:u3")
	header := bearerHeader(mintToken(t, Identity{Subject: "user:u3"}))
	resp := g.checkStreamRefusal(t, "", header, http.StatusTooManyRequests)
	checkRetryAfter(t, resp)
	checkEqual(t, "connections", g.hub.Stats().Connections, 1)
}

// The error names the parameter or the header with the invalid position.
func TestInvalidPositionIsNamed(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "user:u1"})
	for name, tc := range map[string]struct {
		query  string
		header http.Header
	}{
		"after":         {"after=foo", bearerHeader(token)},
		"Last-Event-ID": {"", addLastEventID(token, "foo")},
	} {
		t.Run(name, func(t *testing.T) {
			resp, _ := g.requestStream(tc.query, tc.header)
			var body HTTPError
			err := json.NewDecoder(resp.Body).Decode(&body)
			if err != nil {
				t.Fatal(err)
			}
			checkEqual(t, "detail", body.Detail, name+" must be an event id of this stream")
		})
	}
}

func TestStreamRefusesHEAD(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "user:u1"})
	resp, err := http.Head(g.server.URL + "/v1/events?access_token=" + url.QueryEscape(token))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	checkEqual(t, "status", resp.StatusCode, http.StatusMethodNotAllowed)
	checkEqual(t, "Allow", resp.Header.Get("Allow"), "GET")
}
