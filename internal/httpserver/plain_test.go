package httpserver

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const post = "POST /v1/accounts/user:u1/holds HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer a.b-c_d\r\n" +
	"idempotency-key: k1\r\nContent-Length: 2\r\n\r\n{}"

func TestParsePlain(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		want       verdict
	}{
		{"a write", post, plain},
		{"a write and more", post + "GET /", plain},
		{"a read", "GET /v1/accounts/user:u1/entries?limit=10&from=2026-01-01T00:00:00Z HTTP/1.1\r\nHost: h\r\n\r\n", plain},
		{"nothing yet", "", incomplete},
		{"half a head", post[:60], incomplete},
		{"half a body", post[:len(post)-1], incomplete},
		{"a head without an end", "GET /v1/" + strings.Repeat("x", 2000), unusual},
		{"another path", "GET /docs HTTP/1.1\r\nHost: h\r\n\r\n", unusual},
		{"another method", "PUT /v1/x HTTP/1.1\r\nHost: h\r\n\r\n", unusual},
		{"HTTP/1.0", "GET /v1/x HTTP/1.0\r\nHost: h\r\n\r\n", unusual},
		{"an escaped path", "GET /v1/%2e HTTP/1.1\r\nHost: h\r\n\r\n", unusual},
		{"an absolute path", "GET http://h/v1/x HTTP/1.1\r\nHost: h\r\n\r\n", unusual},
		{"no host", "GET /v1/x HTTP/1.1\r\n\r\n", unusual},
		{"two hosts", "GET /v1/x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", unusual},
		{"two keys", "GET /v1/x HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\n\r\n", unusual},
		{"two lengths", "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", unusual},
		{"a signed length", "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx", unusual},
		{"a long body", "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n", unusual},
		{"a read with a body", "GET /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", unusual},
		{"chunks", "POST /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", unusual},
		{"an expectation", "POST /v1/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", unusual},
		{"the last request", "GET /v1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", unusual},
		{"a blank before the colon", "GET /v1/x HTTP/1.1\r\nHost: h\r\nA : 1\r\n\r\n", unusual},
		{"a folded header", "GET /v1/x HTTP/1.1\r\nHost: h\r\nA: 1\r\n 2\r\n\r\n", unusual},
		{"a bare line feed", "GET /v1/x HTTP/1.1\r\nHost: h\nA: 1\r\n\r\n", unusual},
		{"letters beyond ASCII", "GET /v1/x HTTP/1.1\r\nHost: h\r\nA: ü\r\n\r\n", unusual},
	} {
		if _, got := parsePlain([]byte(c.sent), "/v1/", 1000, 100); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What is read as a plain request, net/http reads as the same one.
func FuzzParsePlain(f *testing.F) {
	f.Add([]byte(post))
	f.Add([]byte(post + post))
	f.Add([]byte("GET /v1/accounts/user:u1/entries?limit=10&x=%20a+b HTTP/1.1\r\nHost: [::1]:80\r\nAccept: */*\r\nConnection: Keep-Alive\r\n\r\n"))
	f.Add([]byte("POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-Request-Id:  a b\t\r\n\r\n"))
	f.Add([]byte("GET /v1/? HTTP/1.1\r\nHost: h\r\n:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		p, v := parsePlain(sent, "/v1/", 1000, 100)
		if v != plain {
			return
		}
		got, body := p.request(&http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, sent)
		gotBody, err := io.ReadAll(got.Body)
		if err != nil || body.Close() != nil {
			t.Fatal(err)
		}
		rest := bufio.NewReader(bytes.NewReader(sent))
		want, err := http.ReadRequest(rest)
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		wantBody, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatal(err)
		}
		after, err := io.ReadAll(rest)
		if err != nil {
			t.Fatal(err)
		}
		if got.Method != want.Method || *got.URL != *want.URL || got.Host != want.Host || got.RequestURI != want.RequestURI ||
			got.ContentLength != want.ContentLength || got.Proto != want.Proto || got.Close != want.Close ||
			got.URL.EscapedPath() != want.URL.EscapedPath() ||
			!maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Fatalf("net/http reads\n%+v, not\n%+v", want, got)
		}
		if !bytes.Equal(gotBody, wantBody) || !bytes.Equal(sent[p.bodyEnds:], after) {
			t.Fatalf("net/http reads the body %q and leaves %q, not %q and %q", wantBody, after, gotBody, sent[p.bodyEnds:])
		}
	})
}
