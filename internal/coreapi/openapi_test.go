package coreapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/openapitest"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// docs/openapi.json must be the document that the code generates.
func TestDocumentIsCurrent(t *testing.T) {
	openapitest.CheckFile(t, "../../docs/openapi.json", coreapi.New(nil, nil, coreapi.Config{}).OpenAPI)
}

// openAPIDocument has the parts of the document that the tests check.
type openAPIDocument struct {
	OpenAPI    string
	Paths      map[string]map[string]map[string]any
	Components map[string]map[string]any
}

func readDocument(t *testing.T) openAPIDocument {
	t.Helper()
	raw, err := coreapi.New(nil, nil, coreapi.Config{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPIDocument
	err = json.Unmarshal(raw, &doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentHasAllPaths(t *testing.T) {
	doc := readDocument(t)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("got OpenAPI %s, want 3.1.0", doc.OpenAPI)
	}
	if len(doc.Paths) != 16 {
		t.Errorf("got %d paths, want 16", len(doc.Paths))
	}
}

func TestDocumentReferencesExist(t *testing.T) {
	doc := readDocument(t)
	for path, methods := range doc.Paths {
		t.Run(path, func(t *testing.T) {
			for _, operation := range methods {
				checkReferences(t, doc, operation)
			}
		})
	}
	for kind, components := range doc.Components {
		t.Run(kind, func(t *testing.T) { checkReferences(t, doc, components) })
	}
}

// checkReferences checks each $ref in a part of the document.
func checkReferences(t *testing.T, doc openAPIDocument, part any) {
	t.Helper()
	switch part := part.(type) {
	case map[string]any:
		ref, ok := part["$ref"].(string)
		kind, name, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
		if ok && doc.Components[kind][name] == nil {
			t.Errorf("got %s, want the name of a component", ref)
		}
		for _, child := range part {
			checkReferences(t, doc, child)
		}
	case []any:
		for _, child := range part {
			checkReferences(t, doc, child)
		}
	}
}

func TestDocumentDescribesEachCall(t *testing.T) {
	for path, methods := range readDocument(t).Paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		for method, operation := range methods {
			t.Run(method+" "+path, func(t *testing.T) {
				required := []string{"operationId", "summary", "parameters", "responses", "security"}
				if method == "post" {
					required = append(required, "requestBody")
				}
				for _, member := range required {
					if operation[member] == nil {
						t.Errorf("got no %s", member)
					}
				}
			})
		}
	}
}

func TestDocumentIsServed(t *testing.T) {
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	h := serveAPI(t, l, l)
	a := h.expect(http.StatusOK, request{path: "/openapi.json", token: "-"})
	if a.json["openapi"] != "3.1.0" {
		t.Errorf("got %.80s, want an OpenAPI document", a.raw)
	}
}

func TestDocumentationPage(t *testing.T) {
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	h := serveAPI(t, l, l)
	page := h.send(request{path: "/docs", token: "-"})
	if page.status != http.StatusOK {
		t.Errorf("got status %d, want 200", page.status)
	}
	if got := page.header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Errorf("got content type %q, want text/html", got)
	}
	for _, external := range []string{"src=\"http", "href=\"http", "@import", "//cdn"} {
		if strings.Contains(page.raw, external) {
			t.Errorf("the page has %s, so it loads something from another server", external)
		}
	}
}
