package gateway

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/openapi"
)

// The Shape and Body types describe answers and requests in the OpenAPI document.
type statsShape struct {
	Gateway       string `json:"gateway" doc:"The gateway's name."`
	Connections   int    `json:"connections" minimum:"0"`
	Subscriptions int    `json:"subscriptions" minimum:"0"`
	Accounts      int    `json:"accounts" minimum:"0" doc:"Accounts with at least one subscription."`
	MemoryEvents  int    `json:"memoryEvents" minimum:"0" doc:"Events that are kept for clients that resume."`
	MemoryBytes   int    `json:"memoryBytes" minimum:"0" doc:"An estimate of their size."`
	Draining      bool   `json:"draining"`
}

type connectionShape struct {
	Connection    string   `json:"connection" doc:"The id from the connection's welcome frame."`
	Subject       string   `json:"subject"`
	Accounts      []string `json:"accounts" nullable:"false" doc:"The accounts of the token."`
	Remote        string   `json:"remote"`
	Transport     string   `json:"transport" enum:"websocket,sse"`
	ConnectedAt   string   `json:"connectedAt" format:"date-time"`
	ExpiresAt     string   `json:"expiresAt,omitempty" format:"date-time" doc:"Absent before the client has authenticated."`
	Subscriptions []string `json:"subscriptions" nullable:"false"`
	QueuedFrames  int      `json:"queuedFrames" minimum:"0"`
	QueuedBytes   int      `json:"queuedBytes" minimum:"0"`
}

type connectionsShape struct {
	Gateway     string            `json:"gateway"`
	Total       int               `json:"total" minimum:"0"`
	Connections []connectionShape `json:"connections" nullable:"false" doc:"At most 1000 of them."`
}

type disconnectBody struct {
	Account    string `json:"account,omitempty" pattern:"^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$" example:"user:u1" doc:"Exactly one of account and connection must be given."`
	Connection string `json:"connection,omitempty" maxLength:"255"`
	Reason     string `json:"reason,omitempty" maxLength:"100" example:"support 4711" doc:"It is sent to the client in the close frame."`
}

type revokeBody struct {
	TokenID   string `json:"tokenId,omitempty" maxLength:"255" doc:"The claim jti. Exactly one of tokenId and account must be given."`
	Account   string `json:"account,omitempty" pattern:"^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$" example:"user:u1" doc:"All tokens that name the account and were issued until now."`
	ExpiresAt string `json:"expiresAt,omitempty" format:"date-time" doc:"The end of the revocation, at most a year ahead. The default is 31 days."`
}

type drainBody struct {
	Gateway string `json:"gateway,omitempty" maxLength:"255" example:"gateway-1" doc:"The gateway's name. The default is the gateway that receives the call."`
}

type broadcastShape struct {
	Closed   int `json:"closed" minimum:"0" doc:"The connections of this gateway that were closed."`
	Gateways int `json:"gateways" minimum:"0" doc:"The gateways that received the order, including this one."`
}

type drainShape struct {
	Gateway  string `json:"gateway"`
	Draining bool   `json:"draining"`
}

// newAdminDocument returns the OpenAPI document of the admin listener.
func newAdminDocument() *openapi.Document {
	d := openapi.NewAdmin("gateway", "http://127.0.0.1:9081")
	d.AddAdminCall(openapi.Call{
		ID: "get-stats", Method: http.MethodGet, Path: "/admin/stats",
		Summary: "The figures of this gateway",
		Answers: map[int]*huma.Response{200: d.JSONAnswer("The figures.", statsShape{}, nil)},
	})

	account := openapi.AccountParam()
	account.In = "query"
	account.Required = false
	account.Description = "Only connections whose token names the account"
	d.AddAdminCall(openapi.Call{
		ID: "list-connections", Method: http.MethodGet, Path: "/admin/connections",
		Summary: "This gateway's connections",
		Params:  []openapi.Param{account},
		Answers: map[int]*huma.Response{200: d.JSONAnswer("The connections.", connectionsShape{}, nil)},
	})

	broadcast := map[int]*huma.Response{200: d.JSONAnswer("All gateways apply the call.", broadcastShape{}, nil)}
	d.AddAdminCall(openapi.Call{
		ID: "disconnect", Method: http.MethodPost, Path: "/admin/disconnect",
		Summary:     "Close connections on all gateways",
		Description: "The clients may connect again at once.",
		Body:        d.JSONBody(disconnectBody{}),
		Answers:     broadcast,
		Problems:    openapi.Codes{http.StatusRequestEntityTooLarge: {"request_too_large"}},
	})
	d.AddAdminCall(openapi.Call{
		ID: "revoke", Method: http.MethodPost, Path: "/admin/revoke",
		Summary: "Revoke tokens on all gateways, and close their connections",
		Body:    d.JSONBody(revokeBody{}),
		Answers: broadcast,
		Problems: openapi.Codes{
			http.StatusRequestEntityTooLarge: {"request_too_large"},
			http.StatusServiceUnavailable:    {"overloaded", "unavailable"},
		},
	})

	drain := d.JSONBody(drainBody{})
	drain.Required = false
	answer := d.JSONAnswer("The gateway drains, or the order was sent to the gateways.", drainShape{}, nil)
	answer.Content["application/json"].Schema = &huma.Schema{OneOf: []*huma.Schema{
		d.SchemaOf(drainShape{}),
		d.SchemaOf(broadcastShape{}),
	}}
	d.AddAdminCall(openapi.Call{
		ID: "drain", Method: http.MethodPost, Path: "/admin/drain",
		Summary:  "Make the clients of a gateway reconnect elsewhere",
		Body:     drain,
		Answers:  map[int]*huma.Response{200: answer},
		Problems: openapi.Codes{http.StatusRequestEntityTooLarge: {"request_too_large"}},
	})
	d.Finish()
	return d
}

// AdminOpenAPI returns the OpenAPI document of the admin listener.
func AdminOpenAPI() ([]byte, error) { return newAdminDocument().JSON() }
