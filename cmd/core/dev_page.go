package main

import (
	"bytes"
	_ "embed"
	"html/template"
	"strings"
)

//go:embed dev.html
var livePage string

// pagePolicy returns the Content-Security-Policy of the live page. The page connects to the core and
// to the gateway, and loads nothing.
func (d *demo) pagePolicy() string {
	gatewayPort := d.socketURL[strings.LastIndexByte(d.socketURL, ':'):]
	gatewayPort, _, _ = strings.Cut(gatewayPort, "/")
	return "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " +
		"connect-src 'self' ws://*" + gatewayPort + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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
