package gateway

import (
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/openapi"
)

const (
	tagEvents    = "Events"
	tagBalances  = "Balances"
	tagDocuments = "Documents"
)

const publicDescription = "The HTTP side of a gateway: balances from Redis, and the handshakes of WebSockets and " +
	"server-sent events. /asyncapi.json describes the frames. Tokens are sent as `Authorization: Bearer <JWT>`; " +
	"a WebSocket client may send its token in the first frame instead, and a client of server-sent events in the " +
	"query. A token may see the accounts in its claim `accounts`, or the one in `sub` if there is no such claim."

// newDocument returns the OpenAPI document of the public listener.
func newDocument() *openapi.Document {
	d := openapi.New(openapi.Info{
		Title:       "Gateway",
		Description: publicDescription,
		Server:      "http://127.0.0.1:8081",
		Tags: []*huma.Tag{
			{Name: tagEvents, Description: "Live events."},
			{Name: tagBalances, Description: "Balances, without a load on the ledger."},
			{Name: tagDocuments, Description: "The descriptions of the gateway. They need no token."},
		},
		Scopes: map[string]string{auth.ScopeEvents: "subscribe to all accounts at once"},
	})
	d.Components.SecuritySchemes["accessToken"] = &huma.SecurityScheme{
		Type:        "apiKey",
		In:          "query",
		Name:        "access_token",
		Description: "The token, for clients that cannot send Authorization, such as EventSource in browsers.",
	}
	describeHandshakes(d)

	d.AddCall(openapi.Call{
		ID: "get-balance", Method: http.MethodGet, Path: balancePath, Tag: tagBalances,
		Summary: "An account's balance, from Redis",
		Description: "If Redis lacks the account, the balance comes from the core. The token must be for the " +
			"account.",
		Security: openapi.RequireToken(),
		Params:   []openapi.Param{openapi.AccountParam()},
		Answers: map[int]*huma.Response{200: d.JSONAnswer("The balance.", balanceShape{}, map[string]openapi.Param{
			"X-Balance-Source": openapi.RequiredHeader("Where the balance comes from.", openapi.Choice(sourceRedis, sourceCore)),
		})},
		Problems: openapi.Codes{
			http.StatusBadRequest:          {"invalid_request"},
			http.StatusUnauthorized:        {"unauthorized"},
			http.StatusForbidden:           {"forbidden"},
			http.StatusNotFound:            {"account_not_found"},
			http.StatusInternalServerError: {"internal"},
			http.StatusServiceUnavailable:  {"unavailable"},
		},
	})

	for path, summary := range map[string]string{
		"/asyncapi.json": "The description of the frames",
		"/openapi.json":  "This document",
	} {
		d.AddCall(openapi.Call{
			ID: "get-" + path[1:len(path)-len(".json")], Method: http.MethodGet, Path: path, Tag: tagDocuments,
			Summary:  summary,
			Security: openapi.NoToken(),
			Answers:  map[int]*huma.Response{200: d.JSONAnswer("The document.", map[string]any{}, nil)},
		})
	}
	d.Finish()
	return d
}

// describeHandshakes describes the requests that become streams of frames.
func describeHandshakes(d *openapi.Document) {
	problems := openapi.Codes{
		http.StatusBadRequest:          {"invalid_request"},
		http.StatusUnauthorized:        {"unauthorized"},
		http.StatusForbidden:           {"forbidden"},
		http.StatusTooManyRequests:     {"overloaded"},
		http.StatusInternalServerError: {"internal"},
		http.StatusServiceUnavailable:  {"overloaded", "unavailable"},
	}
	ofSocket := maps.Clone(problems)
	ofSocket[http.StatusUpgradeRequired] = []string{"upgrade_required"}
	d.AddCall(openapi.Call{
		ID: "open-socket", Method: http.MethodGet, Path: wsPath, Tag: tagEvents,
		Summary:     "Open a WebSocket",
		Description: "Use a WebSocket client, and not a generated HTTP client. /asyncapi.json describes the frames.",
		Security:    append(openapi.RequireToken(), map[string][]string{}),
		Params: []openapi.Param{openapi.HeaderParam("Sec-WebSocket-Protocol",
			"The subprotocols of the client. If it names any, wallet.v1 must be among them", openapi.Text(""))},
		Answers: map[int]*huma.Response{101: {
			Description: "The WebSocket is open.",
			Headers: map[string]openapi.Param{
				"Sec-WebSocket-Protocol": openapi.Header("wallet.v1, if the client has offered it.", openapi.Choice("wallet.v1")),
			},
		}},
		Problems: ofSocket,
	})
	d.AddCall(openapi.Call{
		ID: "stream-events", Method: http.MethodGet, Path: eventsPath, Tag: tagEvents,
		Summary: "Open a stream of server-sent events",
		Description: "The stream has one subscription. It ends only when one side disconnects. /asyncapi.json " +
			"describes the frames in it.",
		Security: append(openapi.RequireToken(), map[string][]string{"accessToken": {}}),
		Params:   d.StreamParams(),
		Answers:  map[int]*huma.Response{200: openapi.TextAnswer("The stream.", "text/event-stream")},
		Problems: problems,
	})
}

// balanceShape describes a balance in the OpenAPI document. bus.Balance encodes it.
type balanceShape struct{}

// Schema returns the schema of docs/asyncapi.json.
func (balanceShape) Schema(huma.Registry) *huma.Schema { return openapi.ReferTo("Balance") }

// OpenAPI returns the OpenAPI document of the public listener.
func OpenAPI() ([]byte, error) { return newDocument().JSON() }
