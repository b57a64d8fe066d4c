package main

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed dev.html
var livePage string

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
