package httpserver

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// plainRequest is a request as programs write it, read without net/http. Whatever is
// unusual about a request, or wrong, is no plain request: it is left to net/http, which
// knows all of HTTP. So nothing is judged here, and a fuzz test holds what is read to
// what net/http reads.
type plainRequest struct {
	method, path, query, host string
	header                    http.Header // without Host
	bodyBegins, bodyEnds      int         // places in what was sent
}

// verdict is what parsePlain says of what has arrived so far.
type verdict int

const (
	unusual    verdict = iota // for net/http
	incomplete                // so far nothing speaks against it
	plain
)

const maxPlainHeaders = 32

// parsePlain reads the first request of what a client sent. Its path begins with
// prefix, its head has at most maxHead bytes, its body maxBody.
func parsePlain(sent []byte, prefix string, maxHead, maxBody int) (r plainRequest, v verdict) {
	end := bytes.Index(sent, []byte("\r\n\r\n"))
	if end < 0 {
		if len(sent) >= maxHead || bareLF(sent) {
			return r, unusual
		}
		return r, incomplete
	}
	if end >= maxHead {
		return r, unusual
	}
	head := string(sent[:end+2]) // all strings of the request are parts of it
	line, rest, _ := strings.Cut(head, "\r\n")
	if !r.line(line, prefix) {
		return r, unusual
	}
	r.header = make(http.Header, 8)
	values := make([]string, 0, 8)
	length := -1
	for n := 0; len(rest) > 0; n++ {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := plainHeader(line)
		if !ok || n == maxPlainHeaders {
			return r, unusual
		}
		switch name {
		case "Host":
			if r.host != "" || !plainHost(value) {
				return r, unusual
			}
			r.host = value
			continue
		case "Content-Length":
			if length, ok = plainLength(value); !ok || length > maxBody {
				return r, unusual
			}
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return r, unusual
			}
		case "Transfer-Encoding", "Trailer", "Te", "Expect", "Upgrade", "Http2-Settings", "Pragma":
			return r, unusual
		}
		if r.header[name] != nil {
			return r, unusual
		}
		values = append(values, value)
		r.header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if r.host == "" || (r.method == http.MethodGet && length > 0) {
		return r, unusual
	}
	r.bodyBegins = end + 4
	r.bodyEnds = r.bodyBegins + max(length, 0)
	if len(sent) < r.bodyEnds {
		return r, incomplete
	}
	return r, plain
}

// bareLF tells whether a line ends without a CR: then the head may be complete.
func bareLF(head []byte) bool {
	return bytes.Count(head, []byte("\n")) > bytes.Count(head, []byte("\r\n"))
}

// line reads the request line.
func (r *plainRequest) line(line, prefix string) bool {
	var target string
	var ok bool
	if r.method, target, ok = strings.Cut(line, " "); !ok || (r.method != http.MethodPost && r.method != http.MethodGet) {
		return false
	}
	if target, ok = strings.CutSuffix(target, " HTTP/1.1"); !ok || !strings.HasPrefix(target, prefix) {
		return false
	}
	r.path = target
	if path, query, ok := strings.Cut(target, "?"); ok {
		if r.path, r.query = path, query; query == "" {
			return false
		}
	}
	return only(r.path, "/._~@:-") && only(r.query, "=&._~:,+%*-")
}

// only tells whether s has only letters, digits and these.
func only(s, marks string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && strings.IndexByte(marks, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// plainHeader reads a header line: the name in its canonical form, and the value.
func plainHeader(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' {
			return "", "", false
		}
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return "", "", false
		}
	}
	return http.CanonicalHeaderKey(name), value, true
}

// plainHost is true for a name or address with or without a port.
func plainHost(host string) bool {
	return host != "" && only(host, ".-:[]")
}

// plainLength reads up to 8 digits.
func plainLength(s string) (n int, ok bool) {
	if s == "" || len(s) > 8 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, true
}

// request makes the request that a handler gets: a copy of the template.
func (r *plainRequest) request(template *http.Request, sent []byte) (*http.Request, *plainBody) {
	made := &struct {
		request http.Request
		url     url.URL
		body    plainBody
	}{*template, url.URL{Path: r.path, RawQuery: r.query}, plainBody{sent[r.bodyBegins:r.bodyEnds]}}
	out := &made.request
	out.Method, out.Host, out.Header, out.URL = r.method, r.host, r.header, &made.url
	if out.RequestURI = r.path; r.query != "" {
		out.RequestURI += "?" + r.query
	}
	out.Body = http.NoBody
	if n := r.bodyEnds - r.bodyBegins; n > 0 {
		out.Body, out.ContentLength = &made.body, int64(n)
	}
	return out, &made.body
}

// plainBody is the part of a connection's buffer that is a request's body.
type plainBody struct{ rest []byte }

// Read implements io.Reader.
func (b *plainBody) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (b *plainBody) Close() error {
	b.rest = nil
	return nil
}
