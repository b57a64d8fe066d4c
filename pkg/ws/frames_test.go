package ws

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// formatList formats a JSON array of n values.
func formatList(n int, format string) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(values, ",") + "]"
}

// checkRefusals sends each frame on a connection of its own. The frame must be answered with the
// code, and the connection must stay open.
func checkRefusals(t *testing.T, code string, frames map[string]string) {
	t.Helper()
	g := newGateway(t, Config{FrameBurst: 1000})
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			c := g.login("user:u1")
			c.t = t
			c.sendFrame(frame)
			c.expectError(code)
			c.expectPong()
			_ = c.ws.CloseNow()
		})
	}
}

func TestMalformedFrameIsRefused(t *testing.T) {
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"no JSON":            `hello`,
		"incomplete JSON":    `{"op":"ping"`,
		"empty":              ``,
		"not an object":      `["ping"]`,
		"no op":              `{}`,
		"unknown op":         `{"op":"publish"}`,
		"op in upper case":   `{"op":"PING"}`,
		"op is a number":     `{"op":1}`,
		"duplicate names":    `{"op":"ping","op":"ping"}`,
		"invalid UTF-8":      "{\"op\":\"ping\",\"sub\":\"\xff\"}",
		"unsubscribe no sub": `{"op":"unsubscribe"}`,
	})
}

func TestMisplacedFieldIsRefused(t *testing.T) {
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"unknown field":          `{"op":"subscribe","sub":"s","type":["x"]}`,
		"ping with a sub":        `{"op":"ping","sub":"a"}`,
		"ping with a null sub":   `{"op":"ping","sub":null}`,
		"unsubscribe with after": `{"op":"unsubscribe","sub":"a","after":{}}`,
		"subscribe with a token": `{"op":"subscribe","sub":"s","token":"t"}`,
		"auth with accounts":     `{"op":"auth","token":"t","accounts":["user:u1"]}`,
	})
}

func TestNullIsRefused(t *testing.T) {
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"types":     `{"op":"subscribe","sub":"s","types":null}`,
		"accounts":  `{"op":"subscribe","sub":"s","accounts":null}`,
		"minAmount": `{"op":"subscribe","sub":"s","minAmount":null}`,
		"snapshot":  `{"op":"subscribe","sub":"s","snapshot":null}`,
		"after":     `{"op":"subscribe","sub":"s","after":null}`,
		"a seq":     `{"op":"subscribe","sub":"s","after":{"user:u1":null}}`,
		"a type":    `{"op":"subscribe","sub":"s","types":[null]}`,
	})
}

func TestInvalidFilterIsRefused(t *testing.T) {
	longType := strings.Repeat("t", 129)
	values := formatList(33, `"t%d"`)
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"33 types":        `{"op":"subscribe","sub":"s","types":` + values + `}`,
		"33 reasons":      `{"op":"subscribe","sub":"s","reasons":` + values + `}`,
		"33 features":     `{"op":"subscribe","sub":"s","features":` + values + `}`,
		"empty types":     `{"op":"subscribe","sub":"s","types":[]}`,
		"types is text":   `{"op":"subscribe","sub":"s","types":"wallet.escrow_held"}`,
		"129 bytes":       `{"op":"subscribe","sub":"s","types":["` + longType + `"]}`,
		"minAmount 0":     `{"op":"subscribe","sub":"s","minAmount":0}`,
		"minAmount 1.5":   `{"op":"subscribe","sub":"s","minAmount":1.5}`,
		"minAmount 2^53":  `{"op":"subscribe","sub":"s","minAmount":9007199254740992}`,
		"minAmount text":  `{"op":"subscribe","sub":"s","minAmount":"1"}`,
		"no sub":          `{"op":"subscribe"}`,
		"empty sub":       `{"op":"subscribe","sub":""}`,
		"sub of 65 bytes": `{"op":"subscribe","sub":"` + strings.Repeat("s", 65) + `"}`,
	})
}

func TestInvalidAccountIsRefused(t *testing.T) {
	names := formatList(65, `"user:u%d"`)
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"65 accounts":    `{"op":"subscribe","sub":"s","accounts":` + names + `}`,
		"no accounts":    `{"op":"subscribe","sub":"s","accounts":[]}`,
		"braces":         `{"op":"subscribe","sub":"s","accounts":["user:{u1}"]}`,
		"system account": `{"op":"subscribe","sub":"s","accounts":["system:payout"]}`,
		"all and one":    `{"op":"subscribe","sub":"s","accounts":["*","user:u1"]}`,
		"all with after": `{"op":"subscribe","sub":"s","accounts":["*"],"after":{"user:u1":1}}`,
		"SQL":            `{"op":"subscribe","sub":"s","accounts":["user:'; DROP TABLE wallets; --"]}`,
		"Redis":          `{"op":"subscribe","sub":"s","accounts":["user:x\r\nFLUSHALL"]}`,
	})
}

func TestTokenOfNoAccountMustNameAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.loginWith(Identity{Subject: "app", AllAccounts: true})
	c.sendFrame(`{"op":"subscribe","sub":"s"}`)
	c.expectError(protocol.CodeBadRequest)
}

func TestInvalidAfterIsRefused(t *testing.T) {
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"other account": `{"op":"subscribe","sub":"s","after":{"user:u2":1}}`,
		"negative":      `{"op":"subscribe","sub":"s","after":{"user:u1":-1}}`,
		"2^53":          `{"op":"subscribe","sub":"s","after":{"user:u1":9007199254740992}}`,
		"text":          `{"op":"subscribe","sub":"s","after":{"user:u1":"1"}}`,
		"1e3":           `{"op":"subscribe","sub":"s","after":{"user:u1":1e3}}`,
	})
}

func TestInvalidChainIsRefused(t *testing.T) {
	const chain = `"0123456789abcdef"`
	checkRefusals(t, protocol.CodeBadRequest, map[string]string{
		"without after":  `{"op":"subscribe","sub":"s","chain":{"user:u1":` + chain + `}}`,
		"other account":  `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u2":` + chain + `}}`,
		"15 digits":      `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u1":"0123456789abcde"}}`,
		"17 digits":      `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u1":"0123456789abcdef0"}}`,
		"capital digits": `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u1":"0123456789ABCDEF"}}`,
		"number":         `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u1":1}}`,
		"null":           `{"op":"subscribe","sub":"s","after":{"user:u1":1},"chain":{"user:u1":null}}`,
		"all accounts":   `{"op":"subscribe","sub":"s","accounts":["*"],"chain":{"user:u1":` + chain + `}}`,
		"unsubscribe":    `{"op":"unsubscribe","sub":"s","chain":{}}`,
	})
}

func TestUncoveredAccountIsForbidden(t *testing.T) {
	other := mintToken(t, Identity{Subject: "other", Accounts: []string{"user:u1"}})
	checkRefusals(t, protocol.CodeForbidden, map[string]string{
		"other account":          `{"op":"subscribe","sub":"s","accounts":["user:u1","user:u2"]}`,
		"all accounts":           `{"op":"subscribe","sub":"s","accounts":["*"]}`,
		"token of other subject": `{"op":"auth","token":"` + other + `"}`,
	})
}

func TestUnknownSubscriptionIsRefused(t *testing.T) {
	checkRefusals(t, protocol.CodeUnknownSubscription, map[string]string{
		"unsubscribe": `{"op":"unsubscribe","sub":"nothing"}`,
	})
}

// An error frame names the subscription of the refused frame.
func TestErrorFrameNamesSubscription(t *testing.T) {
	g := newGateway(t, Config{MaxSubscriptions: 1})
	c := g.login("user:u1")
	c.subscribeWith(`{"op":"subscribe","sub":"a"}`)
	for name, tc := range map[string]struct {
		frame string
		code  string
		sub   string
	}{
		"duplicate": {
			frame: `{"op":"subscribe","sub":"a"}`,
			code:  protocol.CodeDuplicateSubscription,
			sub:   "a",
		},
		"one too many": {
			frame: `{"op":"subscribe","sub":"b"}`,
			code:  protocol.CodeTooManySubscriptions,
			sub:   "b",
		},
		"invalid": {
			frame: `{"op":"subscribe","sub":"c\"<","accounts":3}`,
			code:  protocol.CodeBadRequest,
			sub:   `c"<`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.sendFrame(tc.frame)
			checkField(t, c.expectError(tc.code), "sub", tc.sub)
		})
	}
}

// A refused subscription does not count towards MaxSubscriptions.
func TestRefusedSubscriptionDoesNotCount(t *testing.T) {
	g := newGateway(t, Config{MaxSubscriptions: 1})
	c := g.login("user:u1")
	c.subscribeWith(`{"op":"subscribe","sub":"a"}`)
	c.sendFrame(`{"op":"subscribe","sub":"b"}`)
	c.expectError(protocol.CodeTooManySubscriptions)
	c.sendFrame(`{"op":"unsubscribe","sub":"a"}`)
	c.expectFrame("unsubscribed")
	c.subscribeWith(`{"op":"subscribe","sub":"b"}`)
}

func TestFifthMalformedFrameClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	nested := `{"op":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`
	for _, frame := range []string{`x`, `{"op":"nope"}`, `[]`, nested} {
		c.sendFrame(frame)
		c.expectError(protocol.CodeBadRequest)
	}
	c.sendFrame(`{"op":"subscribe","sub":"s","types":[]}`) // well-formed, so it does not count
	c.expectError(protocol.CodeBadRequest)
	c.sendFrame(`y`)
	checkEqual(t, "close text", c.expectClose(protocol.CloseBadRequest), "bad_request")
}

func TestMessageWithSeveralFrames(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.sendFrame("{\"op\":\"ping\"}\n{\"op\":\"subscribe\",\"sub\":\"s\"}\n{\n  \"op\": \"ping\"\n}\n")
	c.expectFrame("pong")
	c.expectFrame("subscribed")
	c.expectFrame("pong")
	c.sendFrame("{\"op\":\"ping\"}\nnot JSON")
	c.expectFrame("pong")
	c.expectError(protocol.CodeBadRequest)
}

func TestFrameRateLimitClosesConnection(t *testing.T) {
	g := newGateway(t, Config{FrameRate: 1, FrameBurst: 3})
	c := g.login("user:u1")
	for range 3 {
		c.expectPong()
	}
	c.sendFrame(`{"op":"ping"}`)
	c.expectClose(protocol.CloseRateLimited)
}
