package e2e

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receivedSpan has the fields of a span that the test checks.
type receivedSpan struct {
	service string
	name    string
	id      string
	parent  string
	start   uint64
	end     uint64
	numbers map[string]int64 // attributes
}

// traceCollector is an OpenTelemetry collector that receives OTLP over HTTP.
type traceCollector struct {
	*testing.T
	url string

	mu    sync.Mutex                // protects spans
	spans map[string][]receivedSpan // by trace
}

func (w *world) startTraceCollector() *traceCollector {
	w.Helper()
	c := &traceCollector{T: w.T, spans: map[string][]receivedSpan{}}
	server := httptest.NewServer(http.HandlerFunc(c.receiveExport))
	w.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *traceCollector) receiveExport(w http.ResponseWriter, r *http.Request) {
	checkEqual(c, "method of an export", r.Method, http.MethodPost)
	checkEqual(c, "path of an export", r.URL.Path, "/v1/traces")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.Errorf("read export: %v", err)
		return
	}
	var request collector.ExportTraceServiceRequest
	err = proto.Unmarshal(body, &request)
	if err != nil {
		c.Errorf("decode export: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.addSpan(service, s)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *traceCollector) addSpan(service string, s *spans.Span) {
	received := receivedSpan{
		service: service,
		name:    s.GetName(),
		id:      hex.EncodeToString(s.GetSpanId()),
		parent:  hex.EncodeToString(s.GetParentSpanId()),
		start:   s.GetStartTimeUnixNano(),
		end:     s.GetEndTimeUnixNano(),
		numbers: map[string]int64{},
	}
	for _, a := range s.GetAttributes() {
		received.numbers[a.GetKey()] = a.GetValue().GetIntValue()
	}
	trace := hex.EncodeToString(s.GetTraceId())
	c.spans[trace] = append(c.spans[trace], received)
}

// listSpans lists the spans of one name, in one trace.
func (c *traceCollector) listSpans(trace, name string) []receivedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []receivedSpan
	for _, s := range c.spans[trace] {
		if s.name == name {
			list = append(list, s)
		}
	}
	return list
}

func (c *traceCollector) countSpans(trace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.spans[trace])
}

// countByName counts the spans of one name, in all traces.
func (c *traceCollector) countByName(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, list := range c.spans {
		for _, s := range list {
			if s.name == name {
				n++
			}
		}
	}
	return n
}

// requireSpan returns the only span of its name in the trace. It must have this service and parent.
func (c *traceCollector) requireSpan(trace, name, service, parent string) receivedSpan {
	c.Helper()
	list := c.listSpans(trace, name)
	if len(list) != 1 {
		c.Fatalf("spans %q: got %+v, want one", name, list)
	}
	s := list[0]
	checkEqual(c, "service of span "+name, s.service, service)
	checkEqual(c, "parent of span "+name, s.parent, parent)
	if s.start > s.end {
		c.Errorf("times of span %s: got the start %d after the end %d", name, s.start, s.end)
	}
	return s
}

// tracedTransport adds a traceparent to each request.
type tracedTransport struct {
	next        http.RoundTripper
	traceparent string
}

func (t tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Traceparent", t.traceparent)
	return t.next.RoundTrip(r)
}

// newTracedAPI returns an API whose requests have the traceparent.
func (w *world) newTracedAPI(s *server, traceparent string) *api {
	w.Helper()
	return w.newAPIWith(s, &http.Client{Transport: tracedTransport{w.http.Transport, traceparent}})
}

// TestTraceFollowsARequestToTheSockets sends a request with a sampled trace, one with an unsampled
// trace, and one without a trace.
func TestTraceFollowsARequestToTheSockets(t *testing.T) {
	t.Parallel()
	const (
		sampled   = "0af7651916cd43dd8448eb211c80319c"
		unsampled = "1bf7651916cd43dd8448eb211c80319c"
		caller    = "b7ad6b7169203331"
		user      = "user:u1"
	)
	w := newWorld(t)
	c := w.startTraceCollector()
	core := w.startCore("--otlp-endpoint", c.url)
	gateway := w.startGateway(core.baseURL(), "--otlp-endpoint", c.url+"/")
	untraced := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	clients := []*rawClient{
		w.startClient("phone", []*server{gateway}, user),
		w.startClient("tablet", []*server{gateway}, user),
		w.startClient("tv", []*server{untraced}, user),
	}
	w.newTracedAPI(core, "00-"+sampled+"-"+caller+"-01").mustDo(newCredit(user, 10))
	w.newTracedAPI(core, "00-"+unsampled+"-"+caller+"-00").mustDo(newCredit(user, 10))
	a.mustDo(newCredit(user, 10))
	for _, cl := range clients {
		cl.waitForSeq(user, 3)
		cl.disconnect()
	}
	w.waitUntilPublished()
	gateway.stopProcess() // it sends its remaining spans
	untraced.stopProcess()
	core.stopProcess()

	request := c.requireSpan(sampled, "POST /v1/accounts/{account}/credits", "core", caller)
	commit := c.requireSpan(sampled, "commit", "core", request.id)
	c.requireSpan(sampled, "publish", "core", commit.id)
	deliver := c.requireSpan(sampled, "deliver", "gateway", commit.id)
	checkEqual(t, "status of the request", request.numbers["http.response.status_code"], http.StatusCreated)
	// One delivery each for the phone and for the tablet.
	checkEqual(t, "deliveries", deliver.numbers["realtime.deliveries"], 2)
	checkEqual(t, "deliveries written", deliver.numbers["realtime.written"], 2)
	checkEqual(t, "spans of the sampled trace", c.countSpans(sampled), 4)
	checkEqual(t, "spans of the unsampled trace", c.countSpans(unsampled), 0)
	// The request without a trace has started one.
	checkEqual(t, "commits in all traces", c.countByName("commit"), 2)
}
