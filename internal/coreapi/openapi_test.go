package coreapi_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

const document = "../../docs/openapi.json"

// The document in docs is the one that the code generates.
func TestDocumentIsCurrent(t *testing.T) {
	got, err := coreapi.New(nil, nil, coreapi.Config{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(document, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/openapi.json is not what the code generates; run: go test ./internal/coreapi -run TestDocumentIsCurrent -update")
	}
}

// Every $ref leads somewhere, and every call has what its readers need.
func TestDocumentIsWhole(t *testing.T) {
	raw, err := coreapi.New(nil, nil, coreapi.Config{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) != 13 {
		t.Errorf("OpenAPI %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if name := strings.TrimPrefix(ref, "#/components/schemas/"); doc.Components.Schemas[name] == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			walk(op)
			for _, member := range []string{"operationId", "summary", "parameters", "responses", "security"} {
				if op[member] == nil {
					t.Errorf("%s %s has no %s", method, path, member)
				}
			}
			if method == "post" && op["requestBody"] == nil {
				t.Errorf("%s %s has no requestBody", method, path)
			}
		}
	}
	walk(doc.Components.Schemas)
}

func TestDocumentIsServed(t *testing.T) {
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	h := serveAPI(t, l, l)
	if a := h.expect(http.StatusOK, request{path: "/openapi.json", token: "-"}); a.json["openapi"] != "3.1.0" {
		t.Errorf("document: %.80s", a.raw)
	}
	page := h.send(request{path: "/docs", token: "-"})
	if page.status != http.StatusOK || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Errorf("page: %d %s", page.status, page.header.Get("Content-Type"))
	}
	for _, elsewhere := range []string{"src=\"http", "href=\"http", "@import", "//cdn"} {
		if strings.Contains(page.raw, elsewhere) {
			t.Errorf("the page loads something from elsewhere: %s", elsewhere)
		}
	}
}
