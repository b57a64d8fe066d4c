package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// span is what the test looks at.
type span struct {
	service, name, id, parent string
	begin, end                uint64
	numbers                   map[string]int64 // attributes
}

// traces is an OpenTelemetry collector: OTLP over HTTP.
type traces struct {
	*testing.T
	url string

	mu    sync.Mutex        // protects spans
	spans map[string][]span // by trace
}

func (w *world) traces() *traces {
	w.Helper()
	c := &traces{T: w.T, spans: map[string][]span{}}
	server := httptest.NewServer(http.HandlerFunc(c.receive))
	w.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *traces) receive(w http.ResponseWriter, r *http.Request) {
	var request collector.ExportTraceServiceRequest
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
		c.Errorf("%s %s is no export of traces: %v", r.Method, r.URL, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		service := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.add(service, s)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *traces) add(service string, s *spans.Span) {
	got := span{
		service: service, name: s.GetName(), id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
		begin: s.GetStartTimeUnixNano(), end: s.GetEndTimeUnixNano(), numbers: map[string]int64{},
	}
	for _, a := range s.GetAttributes() {
		got.numbers[a.GetKey()] = a.GetValue().GetIntValue()
	}
	trace := hex.EncodeToString(s.GetTraceId())
	c.spans[trace] = append(c.spans[trace], got)
}

// of lists a trace's spans of one name.
func (c *traces) of(trace, name string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []span
	for _, s := range c.spans[trace] {
		if s.name == name {
			list = append(list, s)
		}
	}
	return list
}

// traced is send with a traceparent.
func (a *api) traced(wr write, traceparent string) {
	a.w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), a.timeout)
	defer cancel()
	body := fmt.Sprintf(`{"amount":%v,"reason":"%v"}`, wr.body["amount"], wr.body["reason"])
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+wr.path, strings.NewReader(body))
	if err != nil {
		a.w.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + a.token}, "Content-Type": {"application/json"}, "Idempotency-Key": {wr.key}, "Traceparent": {traceparent},
	}
	resp, err := a.w.http.Do(req)
	if err != nil {
		a.w.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		a.w.Fatalf("%s: %s", wr.path, resp.Status)
	}
}

// TestTraces follows a request to the sockets, through real programs.
func TestTraces(t *testing.T) {
	t.Parallel()
	const (
		sampled, unsampled = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"
		caller             = "b7ad6b7169203331"
		user               = "user:u1"
	)
	w := newWorld(t)
	c := w.traces()
	core := w.core("--otlp-endpoint", c.url)
	gateway := w.gateway(core.url(), "--otlp-endpoint", c.url+"/")
	silent := w.gateway(core.url()) // traces nothing
	a := w.api(core)
	clients := []*client{
		w.client("phone", []*server{gateway}, user), w.client("tablet", []*server{gateway}, user), w.client("tv", []*server{silent}, user),
	}
	a.traced(credit(user, 10), "00-"+sampled+"-"+caller+"-01")
	a.traced(credit(user, 10), "00-"+unsampled+"-"+caller+"-00")
	a.do(credit(user, 10))
	for _, cl := range clients {
		cl.reaches(user, 3)
		cl.stop()
	}
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	gateway.stop() // sends what is queued
	silent.stop()
	core.stop()

	one := func(name, service, parent string) span {
		t.Helper()
		got := c.of(sampled, name)
		if len(got) != 1 || got[0].service != service || got[0].parent != parent || got[0].begin > got[0].end {
			t.Fatalf("%s: got %+v, want one of %s with the parent %s", name, got, service, parent)
		}
		return got[0]
	}
	request := one("POST /v1/accounts/{account}/credits", "core", caller)
	commit := one("commit", "core", request.id)
	one("publish", "core", commit.id)
	deliver := one("deliver", "gateway", commit.id)
	if request.numbers["http.response.status_code"] != http.StatusCreated {
		t.Errorf("the request's span has %v", request.numbers)
	}
	if n := deliver.numbers; n["realtime.deliveries"] != 2 || n["realtime.written"] != 2 {
		t.Errorf("the delivery's span has %v, want one for the phone and one for the tablet", n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.spans[sampled]); n != 4 {
		t.Errorf("the trace has %d spans: %+v", n, c.spans[sampled])
	}
	if n := len(c.spans[unsampled]); n != 0 {
		t.Errorf("the trace that is not sampled has %d spans", n)
	}
	commits := 0
	for _, list := range c.spans {
		for _, s := range list {
			if s.name == "commit" {
				commits++
			}
		}
	}
	if commits != 2 { // the third request began a trace of its own
		t.Errorf("%d commits were traced", commits)
	}
}
