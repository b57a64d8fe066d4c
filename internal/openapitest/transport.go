package openapitest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Transport is a http.RoundTripper that compares each exchange with a document.
type Transport struct {
	Next http.RoundTripper // sends the requests

	// DocumentOf returns the document of the server at a host and port, or nil if its answers are not
	// checked.
	DocumentOf func(host string) *Document

	// Report gets each deviation, also while the caller reads the body of an answer.
	Report func(error)
}

// NewClient returns a client of servers that have the document. Each deviation fails the test.
func NewClient(t testing.TB, document *Document) *http.Client {
	return &http.Client{Transport: &Transport{
		Next:       http.DefaultTransport,
		DocumentOf: func(string) *Document { return document },
		Report:     func(deviation error) { t.Error(deviation) },
	}}
}

// RoundTrip sends a request. The body of the answer is checked when the caller has read all of it.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	document := t.DocumentOf(r.URL.Host)
	if document == nil {
		return resp, nil
	}

	op, a, deviation := document.checkHead(resp)
	t.report(resp, deviation)
	isStream := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	if a != nil && !isStream && resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = &checkedBody{ReadCloser: resp.Body, length: resp.ContentLength, check: func(body []byte) {
			t.report(resp, document.checkBody(op, a, resp, body))
		}}
	}
	return resp, nil
}

func (t *Transport) report(r *http.Response, deviation error) {
	if deviation != nil {
		t.Report(fmt.Errorf("%s %s, answered with %d: %w", r.Request.Method, r.Request.URL.Path, r.StatusCode, deviation))
	}
}

// CloseIdleConnections closes those of Next. http.Client calls it.
func (t *Transport) CloseIdleConnections() {
	closer, ok := t.Next.(interface{ CloseIdleConnections() })
	if ok {
		closer.CloseIdleConnections()
	}
}

// checkedBody keeps what the caller reads, and calls check at the end of the body.
type checkedBody struct {
	io.ReadCloser
	length int64 // -1: unknown
	read   bytes.Buffer
	check  func(body []byte) // nil: it was called
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Write(p[:n])
	isComplete := err == io.EOF || int64(b.read.Len()) == b.length
	if isComplete && b.check != nil {
		check := b.check
		b.check = nil
		check(b.read.Bytes())
	}
	return n, err
}
