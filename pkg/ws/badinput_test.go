package ws

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

func list(n int, form string) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(form, i)
	}
	return "[" + strings.Join(values, ",") + "]"
}

// Frames that cannot be done are answered, and the connection stays.
func TestBadFrames(t *testing.T) {
	g := newGateway(t, Config{FrameBurst: 1000})
	for name, tc := range map[string]struct{ frame, code string }{
		"no JSON":                 {`hello`, protocol.CodeBadRequest},
		"half JSON":               {`{"op":"ping"`, protocol.CodeBadRequest},
		"empty":                   {``, protocol.CodeBadRequest},
		"not an object":           {`["ping"]`, protocol.CodeBadRequest},
		"no op":                   {`{}`, protocol.CodeBadRequest},
		"unknown op":              {`{"op":"publish"}`, protocol.CodeBadRequest},
		"op of a wrong case":      {`{"op":"PING"}`, protocol.CodeBadRequest},
		"op is a number":          {`{"op":1}`, protocol.CodeBadRequest},
		"duplicate names":         {`{"op":"ping","op":"ping"}`, protocol.CodeBadRequest},
		"invalid UTF-8":           {"{\"op\":\"ping\",\"sub\":\"\xff\"}", protocol.CodeBadRequest},
		"unknown field":           {`{"op":"subscribe","sub":"s","type":["x"]}`, protocol.CodeBadRequest},
		"null types":              {`{"op":"subscribe","sub":"s","types":null}`, protocol.CodeBadRequest},
		"null accounts":           {`{"op":"subscribe","sub":"s","accounts":null}`, protocol.CodeBadRequest},
		"null minAmount":          {`{"op":"subscribe","sub":"s","minAmount":null}`, protocol.CodeBadRequest},
		"null snapshot":           {`{"op":"subscribe","sub":"s","snapshot":null}`, protocol.CodeBadRequest},
		"null after":              {`{"op":"subscribe","sub":"s","after":null}`, protocol.CodeBadRequest},
		"after null":              {`{"op":"subscribe","sub":"s","after":{"user:u1":null}}`, protocol.CodeBadRequest},
		"a null type":             {`{"op":"subscribe","sub":"s","types":[null]}`, protocol.CodeBadRequest},
		"ping with a sub":         {`{"op":"ping","sub":"a"}`, protocol.CodeBadRequest},
		"ping with a null sub":    {`{"op":"ping","sub":null}`, protocol.CodeBadRequest},
		"unsubscribe with after":  {`{"op":"unsubscribe","sub":"a","after":{}}`, protocol.CodeBadRequest},
		"subscribe with a token":  {`{"op":"subscribe","sub":"s","token":"t"}`, protocol.CodeBadRequest},
		"auth with accounts":      {`{"op":"auth","token":"t","accounts":["user:u1"]}`, protocol.CodeBadRequest},
		"no sub":                  {`{"op":"subscribe"}`, protocol.CodeBadRequest},
		"empty sub":               {`{"op":"subscribe","sub":""}`, protocol.CodeBadRequest},
		"long sub":                {`{"op":"subscribe","sub":"` + strings.Repeat("s", 65) + `"}`, protocol.CodeBadRequest},
		"33 types":                {`{"op":"subscribe","sub":"s","types":` + list(33, `"t%d"`) + `}`, protocol.CodeBadRequest},
		"33 reasons":              {`{"op":"subscribe","sub":"s","reasons":` + list(33, `"t%d"`) + `}`, protocol.CodeBadRequest},
		"33 features":             {`{"op":"subscribe","sub":"s","features":` + list(33, `"t%d"`) + `}`, protocol.CodeBadRequest},
		"no types":                {`{"op":"subscribe","sub":"s","types":[]}`, protocol.CodeBadRequest},
		"types of a wrong type":   {`{"op":"subscribe","sub":"s","types":"wallet.escrow_held"}`, protocol.CodeBadRequest},
		"long type":               {`{"op":"subscribe","sub":"s","types":["` + strings.Repeat("t", 129) + `"]}`, protocol.CodeBadRequest},
		"minAmount 0":             {`{"op":"subscribe","sub":"s","minAmount":0}`, protocol.CodeBadRequest},
		"minAmount 1.5":           {`{"op":"subscribe","sub":"s","minAmount":1.5}`, protocol.CodeBadRequest},
		"minAmount 2^53":          {`{"op":"subscribe","sub":"s","minAmount":9007199254740992}`, protocol.CodeBadRequest},
		"minAmount as text":       {`{"op":"subscribe","sub":"s","minAmount":"1"}`, protocol.CodeBadRequest},
		"65 accounts":             {`{"op":"subscribe","sub":"s","accounts":` + list(65, `"user:u%d"`) + `}`, protocol.CodeBadRequest},
		"no accounts":             {`{"op":"subscribe","sub":"s","accounts":[]}`, protocol.CodeBadRequest},
		"an account with braces":  {`{"op":"subscribe","sub":"s","accounts":["user:{u1}"]}`, protocol.CodeBadRequest},
		"a system account":        {`{"op":"subscribe","sub":"s","accounts":["system:payout"]}`, protocol.CodeBadRequest},
		"another's account":       {`{"op":"subscribe","sub":"s","accounts":["user:u1","user:u2"]}`, protocol.CodeForbidden},
		"every account":           {`{"op":"subscribe","sub":"s","accounts":["*"]}`, protocol.CodeForbidden},
		"every account and more":  {`{"op":"subscribe","sub":"s","accounts":["*","user:u1"]}`, protocol.CodeBadRequest},
		"every account, resumed":  {`{"op":"subscribe","sub":"s","accounts":["*"],"after":{"user:u1":1}}`, protocol.CodeBadRequest},
		"after of a stranger":     {`{"op":"subscribe","sub":"s","after":{"user:u2":1}}`, protocol.CodeBadRequest},
		"after below zero":        {`{"op":"subscribe","sub":"s","after":{"user:u1":-1}}`, protocol.CodeBadRequest},
		"after beyond 2^53":       {`{"op":"subscribe","sub":"s","after":{"user:u1":9007199254740992}}`, protocol.CodeBadRequest},
		"after as text":           {`{"op":"subscribe","sub":"s","after":{"user:u1":"1"}}`, protocol.CodeBadRequest},
		"after 1e3":               {`{"op":"subscribe","sub":"s","after":{"user:u1":1e3}}`, protocol.CodeBadRequest},
		"SQL in a name":           {`{"op":"subscribe","sub":"s","accounts":["user:'; DROP TABLE wallets; --"]}`, protocol.CodeBadRequest},
		"Redis in a name":         {`{"op":"subscribe","sub":"s","accounts":["user:x\r\nFLUSHALL"]}`, protocol.CodeBadRequest},
		"unsubscribe nothing":     {`{"op":"unsubscribe","sub":"nothing"}`, protocol.CodeUnknownSubscription},
		"unsubscribe, no sub":     {`{"op":"unsubscribe"}`, protocol.CodeBadRequest},
		"another's token renewal": {`{"op":"auth","token":"` + mint(t, Identity{Subject: "other", Accounts: []string{"user:u1"}}) + `"}`, protocol.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			c := g.login("user:u1")
			c.send(tc.frame)
			c.expectError(tc.code)
			c.send(`{"op":"ping"}`)
			c.expect("pong")
			_ = c.ws.CloseNow()
		})
	}
}

// An error frame names the subscription that it is about.
func TestErrorNamesSubscription(t *testing.T) {
	g := newGateway(t, Config{MaxSubscriptions: 1})
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"a"}`)
	c.expect("subscribed")
	c.send(`{"op":"subscribe","sub":"a"}`)
	if f := c.expectError(protocol.CodeDuplicateSubscription); f["sub"] != "a" {
		t.Error(f)
	}
	c.send(`{"op":"subscribe","sub":"b"}`)
	if f := c.expectError(protocol.CodeTooManySubscriptions); f["sub"] != "b" {
		t.Error(f)
	}
	c.send(`{"op":"subscribe","sub":"c\"<","accounts":3}`)
	if f := c.expectError(protocol.CodeBadRequest); f["sub"] != `c"<` {
		t.Error(f)
	}
	// A refused subscription takes no place.
	c.send(`{"op":"unsubscribe","sub":"a"}`)
	c.expect("unsubscribed")
	c.send(`{"op":"subscribe","sub":"b"}`)
	c.expect("subscribed")
}

func TestFifthMalformedFrameCloses(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	for _, frame := range []string{`x`, `{"op":"nope"}`, `[]`, `{`} {
		c.send(frame)
		c.expectError(protocol.CodeBadRequest)
	}
	c.send(`{"op":"subscribe","sub":"s","types":[]}`) // well-formed, only refused: does not count
	c.expectError(protocol.CodeBadRequest)
	c.send(`y`)
	if got := c.expectClose(protocol.CloseBadRequest); got.Reason != "bad_request" {
		t.Errorf("reason %q", got.Reason)
	}
}

func TestMessageSizes(t *testing.T) {
	g := newGateway(t, Config{})
	pad := func(size int) string {
		frame := `{"op":"ping"}`
		return frame + strings.Repeat(" ", size-len(frame))
	}
	c := g.login("user:u1")
	c.send(pad(16 << 10))
	c.expect("pong")
	c.send(pad(16<<10 + 1))
	if got := c.expectClose(protocol.CloseTooBig); got.Reason != "message_too_big" {
		t.Errorf("reason %q", got.Reason)
	}
}

// A message that never ends, and frames that are none, are answered before the connection ends.
func TestBrokenMessages(t *testing.T) {
	g := newGateway(t, Config{MessageTimeout: 100 * time.Millisecond})
	for name, tc := range map[string]struct {
		sent   []byte
		code   uint16
		reason string
	}{
		"half a message":   {rawFrame(false, 1, `{"op":`), 4408, "message_timeout"},
		"half a frame":     {rawFrame(true, 1, subscribeFrame)[:12], 4408, "message_timeout"},
		"reserved bits":    {[]byte{0xf1, 0x80, 0, 0, 0, 0}, 1002, "rsv"},
		"unknown opcode":   {rawFrame(true, 3, ""), 1002, "opcode"},
		"fragmented ping":  {rawFrame(false, 9, ""), 1002, "fragmented"},
		"nothing to go on": {rawFrame(true, 0, "x"), 1002, "continuation"},
	} {
		conn := g.rawDial("user:u1")
		if _, err := conn.Write(tc.sent); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var all, got []byte
		for b := make([]byte, 1<<10); got == nil; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("%s: no close frame: %v", name, err)
			}
			all = append(all, b[:n]...)
			// The last frame; nothing else is sent that is not ASCII.
			if i := bytes.LastIndexByte(all, 0x88); i >= 0 && i+1 < len(all) && len(all) == i+2+int(all[i+1]) {
				got = all[i+2:]
			}
		}
		if code := binary.BigEndian.Uint16(got); code != tc.code || !strings.Contains(string(got[2:]), tc.reason) {
			t.Errorf("%s: %d %q, want %d %q", name, code, got[2:], tc.code, tc.reason)
		}
		_ = conn.Close()
	}
}

func TestSeveralFramesInAMessage(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.send("{\"op\":\"ping\"}\n{\"op\":\"subscribe\",\"sub\":\"s\"}\n{\n  \"op\": \"ping\"\n}\n")
	c.expect("pong")
	c.expect("subscribed")
	c.expect("pong")
	c.send("{\"op\":\"ping\"}\nrubbish")
	c.expect("pong")
	c.expectError(protocol.CodeBadRequest)
}

func TestFrameRateLimit(t *testing.T) {
	g := newGateway(t, Config{FrameRate: 1, FrameBurst: 3})
	c := g.login("user:u1")
	for range 3 {
		c.send(`{"op":"ping"}`)
		c.expect("pong")
	}
	c.send(`{"op":"ping"}`)
	c.expectClose(protocol.CloseRateLimited)
}

// badTokens are what must open nothing, by either way in.
func badTokens(t *testing.T) map[string]string {
	return map[string]string{
		"empty":   "",
		"rubbish": "rubbish",
		"expired": mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(-time.Minute)}),
	}
}

func TestBadTokenInHeader(t *testing.T) {
	g := newGateway(t, Config{})
	for name, raw := range badTokens(t) {
		_, resp, err := g.tryDial(bearer(raw))
		if err == nil {
			t.Fatalf("%s: upgraded", name)
		}
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	_, resp, err := g.tryDial(http.Header{"Authorization": {"Basic dTpw"}})
	if err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("Basic: %v", err)
	}
}

func TestBadTokenInFrame(t *testing.T) {
	g := newGateway(t, Config{})
	for name, raw := range badTokens(t) {
		t.Run(name, func(t *testing.T) {
			c := g.dial(nil)
			c.send(`{"op":"auth","token":"` + raw + `"}`)
			if got := c.expectClose(protocol.CloseUnauthorized); got.Reason != "unauthorized" {
				t.Errorf("reason %q", got.Reason)
			}
		})
	}
	c := g.dial(nil)
	c.send(`{"op":"subscribe","sub":"s"}`)
	c.expectClose(protocol.CloseUnauthorized)
	// A bad renewal ends the connection too.
	c = g.login("user:u1")
	c.send(`{"op":"auth","token":"rubbish"}`)
	c.expectClose(protocol.CloseUnauthorized)
}

// failing is an Authenticator that accepts nothing.
type failing struct{ err error }

func (f failing) Authenticate(context.Context, string) (*Identity, error) { return nil, f.err }

// The client learns from an AuthError why its token is refused and when to come back, and nothing
// from other errors.
func TestAuthErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err        error
		status     int
		detail     string
		retryAfter string
		code       protocol.CloseCode
	}{
		"refused":      {&AuthError{Reason: "the token is for another house"}, 401, "the token is for another house", "", protocol.CloseUnauthorized},
		"unavailable":  {&AuthError{Reason: "no keys yet", RetryAfter: 7 * time.Second}, 503, "no keys yet", "7", protocol.CloseInternal},
		"wrapped":      {fmt.Errorf("keys: %w", &AuthError{Reason: "no keys yet", RetryAfter: time.Millisecond}), 503, "no keys yet", "1", protocol.CloseInternal},
		"other errors": {errors.New("user=admin password=hunter2"), 401, "the token is not accepted", "", protocol.CloseUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayFor(t, Config{}, failing{tc.err})
			_, resp, err := g.tryDial(bearer("x"))
			if err == nil {
				t.Fatal("upgraded")
			}
			var body HTTPError
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status || body.Status != tc.status {
				t.Errorf("status %d, in the body %d, want %d", resp.StatusCode, body.Status, tc.status)
			}
			if body.Detail != tc.detail {
				t.Errorf("detail %q, want %q", body.Detail, tc.detail)
			}
			if got := resp.Header.Get("Retry-After"); got != tc.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tc.retryAfter)
			}
			c := g.dial(nil)
			c.send(`{"op":"auth","token":"x"}`)
			c.expectClose(tc.code)
		})
	}
}

// Without a Config.CheckOrigin only pages of the gateway's own host may connect.
func TestSameOrigin(t *testing.T) {
	g := newGateway(t, Config{})
	g.checkOrigins(map[string]bool{
		"":                     true,
		g.server.URL:           true,
		"https://evil.example": false,
		"null":                 false,
		"%":                    false,
	})
}

// Config.CheckOrigin decides about pages of other hosts, and is not asked about clients that are no
// browsers.
func TestCheckOrigin(t *testing.T) {
	g := newGateway(t, Config{CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") == "https://app.example" }})
	g.checkOrigins(map[string]bool{
		"":                    true,
		"https://app.example": true,
		"http://app.example":  false,
		g.server.URL:          false,
	})
}

// checkOrigins connects from each origin, and wants it to be allowed or not.
func (g *gateway) checkOrigins(origins map[string]bool) {
	g.t.Helper()
	raw := mint(g.t, Identity{Subject: "user:u1"})
	for origin, want := range origins {
		header := bearer(raw)
		if origin != "" {
			header.Set("Origin", origin)
		}
		_, resp, err := g.tryDial(header)
		if got := err == nil; got != want {
			g.t.Errorf("origin %q: %v", origin, err)
		} else if !want && resp.StatusCode != http.StatusForbidden {
			g.t.Errorf("origin %q: %d", origin, resp.StatusCode)
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		`{"op":"ping"}`, "{\"op\":\"ping\"}\n{}", `{"op":"subscribe","sub":"s","accounts":["user:u1"],"types":["a"],"minAmount":5,"after":{"user:u1":4},"snapshot":false}`,
		`{"op":"subscribe","sub":"s","accounts":[],"reasons":["a","b"],"features":["c"],"after":{},"snapshot":true}`, `{"op":"ping"}{"op":"ping"}`,
		`{"op":"ping","op":"ping"}`, `{"op":"subscribe","after":{"a":1,"a":1}}`, `{"op":"subscribe","after":{"a":1,"b":2}}`, `{"op":"ping","Op":"auth"}`,
		`{"op":"unsubscribe","sub":null}`, `{"op":"ping","sub":"a"}`, `{"op":"unsubscribe","sub":"a","after":{}}`, `{"op":"subscribe","sub":"s","after":{"a":null}}`,
		`{"op":"auth","token":"x","snapshot":false}`, `{"snapshot":true,"op":"subscribe","sub":"s","types":null}`, `{"op":"auth","token":"x"}`, ``, `[`, `{"op":{"op":1}}`, `{"op":"subscribe","after":{"a":1e99}}`, `[[[[[[[[[[`, `{"op":"ping"}{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}`,
	} {
		f.Add([]byte(s))
	}
	h := NewHub(Config{}, newLedger(), newLedger())
	f.Fuzz(func(t *testing.T, message []byte) {
		n := 0
		good := 0
		protocol.ForEachFrame(message, func(fr protocol.ClientFrame, refused *protocol.Refusal) bool {
			n++
			if refused == nil {
				good++
			}
			switch {
			case refused != nil:
				if refused.Code != protocol.CodeBadRequest || refused.Message == "" {
					t.Errorf("refused with %+v", refused)
				}
				mustBeJSON(t, protocol.ErrorFrame(fr.Sub, refused))
			case !protocol.IsKnownOp(fr.Op):
				t.Errorf("op %q was let through", fr.Op)
			case fr.Op == protocol.OpSubscribe:
				if r, refused := h.validateSubscribe(&fr, &Identity{Subject: "user:u1", Accounts: []string{"user:u1"}}); refused == nil {
					mustBeJSON(t, protocol.Quote(r.name))
					if len(r.accounts) != 1 || r.accounts[0] != "user:u1" {
						t.Errorf("accounts %q", r.accounts)
					}
				}
			}
			return n < 100
		})
		if n == 0 {
			t.Error("a message without frames was let through")
		}
		var value any // as another reader sees it
		if n == 1 && good == 1 && (json.Unmarshal(message, &value) != nil || !plainValue(value, protocol.MaxNesting)) {
			t.Errorf("let through: %q", message)
		}
	})
}

// plainValue reports whether a decoded value has no null and at most so many levels.
func plainValue(value any, levels int) bool {
	ok := true
	switch v := value.(type) {
	case nil:
		return false
	case []any:
		for _, element := range v {
			ok = ok && plainValue(element, levels-1)
		}
		return ok && levels > 0
	case map[string]any:
		for _, member := range v {
			ok = ok && plainValue(member, levels-1)
		}
		return ok && levels > 0
	}
	return true
}

// A request that is no handshake is refused by Config.WriteError, as every refusal is.
func TestNoHandshake(t *testing.T) {
	g := newGateway(t, Config{})
	server := g.server
	upgrade := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for name, c := range map[string]struct {
		method string
		change map[string]string
		status int
		header [2]string
	}{
		"a page":          {http.MethodGet, map[string]string{"Connection": "", "Upgrade": ""}, http.StatusUpgradeRequired, [2]string{"Upgrade", "websocket"}},
		"another upgrade": {http.MethodGet, map[string]string{"Upgrade": "h2c"}, http.StatusUpgradeRequired, [2]string{"Upgrade", "websocket"}},
		"HEAD":            {http.MethodHead, nil, http.StatusMethodNotAllowed, [2]string{"Allow", "GET"}},
		"old version":     {http.MethodGet, map[string]string{"Sec-WebSocket-Version": "8"}, http.StatusBadRequest, [2]string{"Sec-Websocket-Version", "13"}},
		"no key":          {http.MethodGet, map[string]string{"Sec-WebSocket-Key": ""}, http.StatusBadRequest, [2]string{}},
		"other protocols": {http.MethodGet, map[string]string{"Sec-WebSocket-Protocol": "wallet.v2"}, http.StatusBadRequest, [2]string{}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/v1/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range []map[string]string{upgrade, c.change} {
			for k, v := range list {
				req.Header.Set(k, v)
			}
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Status       int
			Code, Detail string
		}
		err = json.NewDecoder(resp.Body).Decode(&body)
		_ = resp.Body.Close()
		if c.method != http.MethodHead && (err != nil || body.Status != c.status || body.Code == "" || body.Detail == "") {
			t.Errorf("%s: %+v %v", name, body, err)
		}
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get(c.header[0]) != c.header[1] {
			t.Errorf("%s: %s %v", name, resp.Status, resp.Header)
		}
	}
}
