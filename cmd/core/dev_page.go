package main

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

//go:embed dev.html
var livePage string

// builtPages has what npm builds for dev: demo/ is the app of examples/react-balance, and
// live/realtime.js is the TypeScript client for the live page. scripts/test fails if they are not
// current.
//
//go:embed demo live
var builtPages embed.FS

// addPages adds the live page, the demo app and its back end to the core. The gateway redirects to
// the live page.
func (d *demo) addPages(core, gateway routes) error {
	page, err := d.renderPage()
	if err != nil {
		return err
	}

	livePolicy := d.pagePolicy("'self' 'unsafe-inline'")
	core.Handle("GET /{$}", withPageHeaders(livePolicy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
	})))
	core.Handle("GET /live/realtime.js", withPageHeaders(livePolicy, http.FileServerFS(builtPages)))
	demoPolicy := d.pagePolicy("'self'")
	core.Handle("GET /demo/{$}", withPageHeaders(demoPolicy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, builtPages, "demo/index.html")
	})))
	assets, err := fs.Sub(builtPages, "demo/assets")
	if err != nil {
		return err
	}
	core.Handle("GET /demo/assets/", withPageHeaders(demoPolicy, http.StripPrefix("/demo/assets/", http.FileServerFS(assets))))
	gateway.Handle("GET /{$}", http.RedirectHandler(d.coreURL+"/", http.StatusFound))
	return nil
}

// routes is a server that pages can be added to.
type routes interface {
	Handle(pattern string, h http.Handler)
}

// withPageHeaders sets the headers of a page and of its scripts. Browsers ask again each time, so
// that a reload shows another version of dev.
func withPageHeaders(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", policy)
		next.ServeHTTP(w, r)
	})
}

// pagePolicy returns the Content-Security-Policy of a page. A page connects to the core and to the
// gateway, by WebSocket or with server-sent events, and loads nothing from elsewhere.
func (d *demo) pagePolicy(scripts string) string {
	gatewayPort := d.socketURL[strings.LastIndexByte(d.socketURL, ':'):]
	gatewayPort, _, _ = strings.Cut(gatewayPort, "/")
	return "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src " + scripts + "; " +
		"connect-src 'self' ws://*" + gatewayPort + " http://*" + gatewayPort + "; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// renderPage returns the live page of the demo accounts. The page contains the demo's tokens. They
// are as public as the secret that signs them.
func (d *demo) renderPage() ([]byte, error) {
	page, err := template.New("live").Parse(livePage)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{
		"Core":   d.coreURL,
		"Socket": d.socketURL,
		"Token":  d.serviceToken,
		"User":   string(demoUser),
		"Model":  string(demoModel),
	})
	return out.Bytes(), err
}
