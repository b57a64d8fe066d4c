package coreapi

import (
	_ "embed"
	"net/http"
)

//go:embed docs.html
var docsPage []byte

// docsPolicy is the Content-Security-Policy of the documentation page.
const docsPolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// addDocumentation serves the OpenAPI document and a page that shows it. Both are public. The page
// does not load anything from other servers.
func (a *API) addDocumentation() {
	describer{a.document}.describeDocuments()
	a.document.Finish()
	a.mux.Handle("GET /openapi.json", a.document.Serve())
	a.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", docsPolicy)
		_, _ = w.Write(docsPage)
	})
}
