package main

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed dev.html
var livePage string

// livePage renders the page that shows the demo accounts live. It carries the
// demo's tokens, which are as secret as the secret that signs them: not at all.
func (d *demo) livePage() ([]byte, error) {
	page, err := template.New("live").Parse(livePage)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{
		"Core": d.coreURL, "Socket": d.socketURL, "Token": d.serviceToken,
		"User": string(demoUser), "Model": string(demoModel),
	})
	return out.Bytes(), err
}
