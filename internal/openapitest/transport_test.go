package openapitest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/openapitest"
)

// document describes one call.
const document = `{
  "openapi": "3.1.0",
  "info": {"title": "Test", "version": "1"},
  "paths": {"/things/{id}": {"post": {
    "operationId": "change",
    "parameters": [
      {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
      {"name": "Key", "in": "header", "required": true, "schema": {"type": "string"}}
    ],
    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
    "responses": {
      "200": {
        "description": "ok",
        "headers": {"X-Count": {"required": true, "schema": {"type": "integer"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
      },
      "409": {"$ref": "#/components/responses/Conflict"}
    }
  }}},
  "components": {
    "responses": {"Conflict": {
      "description": "conflict",
      "content": {"application/problem+json": {"schema": {"oneOf": [
        {"type": "object", "required": ["code"], "properties": {"code": {"type": "string", "enum": ["busy"]}}},
        {"type": "object", "required": ["code"], "properties": {"code": {"type": "string", "enum": ["gone"]}}}
      ]}}}
    }},
    "schemas": {"Thing": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}
  }
}`

// exchange is a request and its answer. An empty field has the value of a described exchange.
type exchange struct {
	path     string
	noKey    bool
	request  string
	status   int
	header   map[string]string
	response string
	want     string // part of the deviation; empty: none
}

func TestDeviations(t *testing.T) {
	for name, tc := range map[string]exchange{
		"none":                    {},
		"none in a problem":       {status: 409, header: map[string]string{"Content-Type": "application/problem+json"}, response: `{"code":"busy"}`},
		"unknown path":            {path: "/other", want: "must describe the call"},
		"unknown path is refused": {path: "/other", status: 404},
		"status":                  {status: 418, want: "must describe the status 418"},
		"code":                    {status: 409, header: map[string]string{"Content-Type": "application/problem+json"}, response: `{"code":"late"}`, want: "must be 'gone'"},
		"content type":            {header: map[string]string{"Content-Type": "text/plain"}, want: `the content type "text/plain"`},
		"header":                  {header: map[string]string{"X-Other": "1"}, want: "must describe the header X-Other"},
		"missing header":          {header: map[string]string{"X-Count": ""}, want: "must have the header X-Count"},
		"value of a header":       {header: map[string]string{"X-Count": "many"}, want: "X-Count does not match"},
		"member of the answer":    {response: `{"name":"a","other":1}`, want: "'other' not allowed"},
		"no JSON":                 {response: `{"name"`, want: "must be JSON"},
		"member of the request":   {request: `{"name":"a","other":1}`, want: "the server accepted a request"},
		"path parameter":          {path: "/things/x", want: "the parameter id"},
		"query parameter":         {path: "/things/1?x=1", want: "must describe the parameter x"},
		"missing parameter":       {noKey: true, want: "must not accept a request without Key"},
	} {
		t.Run(name, func(t *testing.T) {
			deviations := strings.Join(tc.send(t), "\n")
			isExpected := strings.Contains(deviations, tc.want) && (deviations == "") == (tc.want == "")
			if !isExpected {
				t.Errorf("deviations: got %q, want %q", deviations, tc.want)
			}
		})
	}
}

// send makes the exchange and returns the deviations.
func (e exchange) send(t *testing.T) []string {
	t.Helper()
	parsed, err := openapitest.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(e.answer))
	defer server.Close()

	var deviations []string
	client := http.Client{Transport: &openapitest.Transport{
		Next:       http.DefaultTransport,
		DocumentOf: func(string) *openapitest.Document { return parsed },
		Report:     func(err error) { deviations = append(deviations, err.Error()) },
	}}
	path := e.path
	if path == "" {
		path = "/things/1"
	}
	body := e.request
	if body == "" {
		body = `{"name":"a"}`
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if !e.noKey {
		r.Header.Set("Key", "k")
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return deviations
}

func (e exchange) answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if e.status == 0 {
		w.Header().Set("X-Count", "1")
	}
	for name, value := range e.header {
		w.Header().Set(name, value)
		if value == "" {
			w.Header().Del(name)
		}
	}
	if e.status != 0 {
		w.WriteHeader(e.status)
	}
	response := e.response
	if response == "" {
		response = `{"name":"a"}`
	}
	_, _ = io.WriteString(w, response)
}

func TestUnseenAnswers(t *testing.T) {
	parsed, err := openapitest.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(parsed.Unseen(), ", ")
	if want := "change 200, change 409 busy, change 409 gone"; got != want {
		t.Errorf("unseen: got %s, want %s", got, want)
	}
}
