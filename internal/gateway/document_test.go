package gateway_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/openapitest"
)

// The documents of the two listeners. The world compares each answer with them.
var (
	described      = sync.OnceValue(func() *openapitest.Document { return openapitest.MustParse(gateway.OpenAPI) })
	adminDescribed = sync.OnceValue(func() *openapitest.Document { return openapitest.MustParse(gateway.AdminOpenAPI) })
)

// newTransport returns a transport that opens a connection for each request, and compares the answer
// with the document of the listener.
func (w *world) newTransport() http.RoundTripper {
	admin := strings.TrimPrefix(w.admin, "http://")
	public := strings.TrimPrefix(w.url, "http://")
	return &openapitest.Transport{
		Next: &http.Transport{DisableKeepAlives: true},
		DocumentOf: func(host string) *openapitest.Document {
			switch host {
			case admin:
				return adminDescribed()
			case public:
				return described()
			}
			return nil
		},
		Report: func(deviation error) { w.Error(deviation) },
	}
}

// The files in docs must be the documents that the code generates.
func TestDocumentsAreCurrent(t *testing.T) {
	openapitest.CheckFile(t, "../../docs/openapi-gateway.json", gateway.OpenAPI)
	openapitest.CheckFile(t, "../../docs/openapi-gateway-admin.json", gateway.AdminOpenAPI)
}

func TestDocumentsAreServed(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	for _, listener := range []string{w.url, w.admin} {
		r := w.get(listener+"/openapi.json", "")
		r.expectStatus(t, http.StatusOK)
		r.expectJSON(t, "openapi", "3.1.0")
	}
}
