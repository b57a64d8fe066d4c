package openapi

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
)

// The tags of the admin listeners.
var (
	tagAdmin  = &huma.Tag{Name: "Admin", Description: "Calls for operators. They need the scope admin."}
	tagHealth = &huma.Tag{Name: "Health", Description: "Calls for probes and monitoring. They need no token."}
)

// Codes has the codes of the problems of a call, by status.
type Codes map[int][]string

// Call describes a call without a body or with one of JSON.
type Call struct {
	ID          string
	Method      string
	Path        string
	Tag         string
	Summary     string
	Description string
	Security    []map[string][]string
	Params      []Param
	Body        *huma.RequestBody
	Answers     map[int]*huma.Response
	Problems    Codes
}

// AddCall adds a call to the document.
func (d *Document) AddCall(c Call) {
	op := &huma.Operation{
		OperationID: c.ID,
		Method:      c.Method,
		Path:        c.Path,
		Tags:        []string{c.Tag},
		Summary:     c.Summary,
		Description: cmp.Or(c.Description, c.Summary+"."),
		Security:    c.Security,
		Parameters:  c.Params,
		RequestBody: c.Body,
		Responses:   map[string]*huma.Response{},
	}
	for status, answer := range c.Answers {
		op.Responses[strconv.Itoa(status)] = answer
	}
	for status, codes := range c.Problems {
		op.Responses[strconv.Itoa(status)] = d.Problem(status, nil, nil, codes...)
	}
	d.AddOperation(op)
}

// NewAdmin returns the document of the admin listener of a program, such as "core", with the calls that
// all of them have.
func NewAdmin(program, server string) *Document {
	d := New(Info{
		Title: "Admin API of a " + program,
		Description: "The calls for operators of a " + program + ", and its health and metrics. Keep this listener " +
			"private: it has no TLS. Unknown query parameters and unknown members of bodies are refused.",
		Server: server,
		Tags:   []*huma.Tag{tagAdmin, tagHealth},
		Scopes: map[string]string{auth.ScopeAdmin: "make the calls for operators"},
	})

	d.AddCall(Call{
		ID: "get-health", Method: http.MethodGet, Path: "/healthz", Tag: tagHealth.Name,
		Summary:  "Whether the process runs",
		Security: NoToken(),
		Answers:  map[int]*huma.Response{200: d.JSONAnswer("The process runs.", healthShape{}, nil)},
	})
	d.AddCall(Call{
		ID: "get-readiness", Method: http.MethodGet, Path: "/readyz", Tag: tagHealth.Name,
		Summary:  "Whether the process can serve requests",
		Security: NoToken(),
		Answers: map[int]*huma.Response{
			200: d.JSONAnswer("It can, if degraded without a part of its dependencies.", readinessShape{}, nil),
			503: d.JSONAnswer("It cannot, or it is stopping.", readinessShape{}, nil),
		},
	})
	d.AddCall(Call{
		ID: "get-metrics", Method: http.MethodGet, Path: "/metrics", Tag: tagHealth.Name,
		Summary:     "The metrics",
		Description: "In the text format of Prometheus.",
		Security:    NoToken(),
		Answers:     map[int]*huma.Response{200: TextAnswer("The metrics.", "text/plain")},
	})
	d.AddCall(Call{
		ID: "get-openapi", Method: http.MethodGet, Path: "/openapi.json", Tag: tagHealth.Name,
		Summary:  "This document",
		Security: NoToken(),
		Answers:  map[int]*huma.Response{200: d.JSONAnswer("The document.", map[string]any{}, nil)},
	})
	d.addProfiles()
	return d
}

// addProfiles describes the profiles of net/http/pprof.
func (d *Document) addProfiles() {
	d.AddCall(Call{
		ID: "get-profile", Method: http.MethodGet, Path: "/debug/pprof/{profile}", Tag: tagAdmin.Name,
		Summary:     "A profile of the process",
		Description: "The profiles of Go's net/http/pprof. Requests over a loopback address need no token.",
		Security:    append(RequireScopes(auth.ScopeAdmin), map[string][]string{}),
		Params: []Param{
			PathParam("profile", "heap, goroutine, profile, trace and others", Text(""), "heap"),
			QueryParam("seconds", "The duration of a profile of CPU or a trace", Integer(1, 3600, nil)),
			QueryParam("debug", "1 and 2 return a text", Integer(0, 2, 0)),
			QueryParam("gc", "1 collects garbage first", Integer(0, 1, 0)),
		},
		Answers: map[int]*huma.Response{
			200: {
				Description: "The profile.",
				Content: map[string]*huma.MediaType{
					"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
					"text/plain":               {Schema: Text("")},
					"text/html":                {Schema: Text("")},
				},
			},
			404: {
				Description: "There is no such profile.",
				Content: map[string]*huma.MediaType{
					"text/plain":               {Schema: Text("")},
					"application/problem+json": {Schema: d.ProblemSchema("not_found")},
				},
			},
		},
		Problems: adminProblems(nil),
	})
}

type healthShape struct {
	Status string `json:"status" enum:"ok"`
}

type readinessShape struct {
	Status string            `json:"status" enum:"ready,degraded,not_ready,draining"`
	Checks map[string]string `json:"checks" doc:"For each dependency ok, or the error."`
}

// adminProblems returns the codes of all calls for operators, and the given ones.
func adminProblems(more Codes) Codes {
	all := Codes{
		http.StatusBadRequest:          {"invalid_request"},
		http.StatusUnauthorized:        {"unauthorized"},
		http.StatusForbidden:           {"forbidden"},
		http.StatusInternalServerError: {"internal"},
		http.StatusServiceUnavailable:  {"unavailable"},
	}
	for status, codes := range more {
		all[status] = codes
	}
	return all
}

// AddAdminCall adds a call for operators. Its problems are those of adminProblems and c.Problems.
func (d *Document) AddAdminCall(c Call) {
	c.Tag = tagAdmin.Name
	c.Security = RequireScopes(auth.ScopeAdmin)
	c.Problems = adminProblems(c.Problems)
	d.AddCall(c)
}

// Serve returns a handler that answers with the document. Call it after Finish.
func (d *Document) Serve() http.Handler {
	text, err := d.JSON()
	if err != nil {
		panic("openapi: " + err.Error()) // a bug: the document has only types of this project
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(text)
	})
}
