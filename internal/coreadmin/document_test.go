package coreadmin_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/openapitest"
)

// docs/openapi-core-admin.json must be the document that the code generates.
func TestDocumentIsCurrent(t *testing.T) {
	openapitest.CheckFile(t, "../../docs/openapi-core-admin.json", coreadmin.OpenAPI)
}

func TestDocumentIsServed(t *testing.T) {
	h := serveAdmin(t, coreadmin.Config{}, time.Minute)
	a := h.expectOK(http.MethodGet, "/openapi.json", "")
	if a.json["openapi"] != "3.1.0" {
		t.Errorf("got %.80s, want an OpenAPI document", a.raw)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		h.expectOK(http.MethodGet, path, "")
	}
}
