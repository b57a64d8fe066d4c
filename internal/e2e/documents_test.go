package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/openapitest"
)

// documents are the OpenAPI documents in docs, by the listeners that they describe. They are compiled
// once.
var documents = sync.OnceValue(func() map[string]*openapitest.Document {
	parsed := map[string]*openapitest.Document{}
	for listener, name := range map[string]string{
		"core":          "openapi",
		"core admin":    "openapi-core-admin",
		"gateway":       "openapi-gateway",
		"gateway admin": "openapi-gateway-admin",
	} {
		parsed[listener] = openapitest.MustParse(func() ([]byte, error) {
			return os.ReadFile("../../docs/" + name + ".json")
		})
	}
	return parsed
})

// deviations collects the differences between answers and documents. Requests can end after the test.
type deviations struct {
	mu   sync.Mutex // protects list
	list []error
}

func (d *deviations) add(deviation error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, deviation)
}

// reportAll fails the test if there is a deviation.
func (d *deviations) reportAll(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	const shown = 20
	for _, deviation := range d.list[:min(shown, len(d.list))] {
		t.Error(deviation)
	}
	if len(d.list) > shown {
		t.Errorf("%d answers more differ from the documents", len(d.list)-shown)
	}
}

// compareWithDocuments returns a transport that compares the answers of the world's servers with the
// documents of their listeners. At the end of the test, an answer that is not described fails it.
func (w *world) compareWithDocuments(next http.RoundTripper) http.RoundTripper {
	found := &deviations{}
	w.Cleanup(func() { found.reportAll(w.T) })
	return &openapitest.Transport{
		Next: next,
		DocumentOf: func(host string) *openapitest.Document {
			listener, _ := w.listeners.Load(host)
			name, _ := listener.(string)
			return documents()[name]
		},
		Report: found.add,
	}
}

// startComparingProxy starts a proxy that compares the answers of a core or a gateway with its
// document. It returns the URL that leads through the proxy, for programs that the test starts.
func (w *world) startComparingProxy(s *server) string {
	w.Helper()
	target, err := url.Parse(s.baseURL())
	if err != nil {
		w.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = w.http.Transport
	server := httptest.NewServer(proxy)
	w.Cleanup(server.Close)
	return server.URL
}
