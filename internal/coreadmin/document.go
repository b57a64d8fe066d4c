package coreadmin

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/openapi"
)

// The Shape types describe answers in the OpenAPI document.
type outboxShape struct {
	Backlog          int64   `json:"backlog" minimum:"0" doc:"The transactions whose events may not be in Redis yet."`
	OldestAgeSeconds float64 `json:"oldestAgeSeconds" minimum:"0" doc:"0 if the outbox is empty."`
	OldestAt         string  `json:"oldestAt,omitempty" format:"date-time" doc:"The commit time of the oldest transaction."`
	Redis            string  `json:"redis" doc:"ok, or the error that delays events."`
}

type reportShape struct {
	OK           bool           `json:"ok" doc:"Whether there is no finding."`
	Accounts     int64          `json:"accounts"`
	Transactions int64          `json:"transactions" doc:"0 if one account was verified."`
	Entries      int64          `json:"entries"`
	Totals       *totalsShape   `json:"totals,omitempty" doc:"Absent if one account was verified."`
	Findings     []findingShape `json:"findings" nullable:"false" doc:"The first 1000 findings."`
	FindingCount int64          `json:"findingCount" doc:"The number of all findings."`
	Seconds      float64        `json:"seconds" doc:"The duration of the audit."`
}

// totalsShape describes sums that can exceed 64 bits.
type totalsShape struct {
	Issued    bigInteger `json:"issued"`
	PaidOut   bigInteger `json:"paidOut"`
	Available bigInteger `json:"available"`
	Escrow    bigInteger `json:"escrow"`
	Earned    bigInteger `json:"earned"`
}

type bigInteger struct{}

// Schema describes a whole number without a bound.
func (bigInteger) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Description: "Whole points. It can exceed 64 bits."}
}

type findingShape struct {
	Check         string `json:"check" doc:"The rule that the ledger does not keep."`
	Account       string `json:"account,omitempty"`
	TransactionID string `json:"transactionId,omitempty"`
	Seq           int64  `json:"seq,omitempty"`
	Detail        string `json:"detail"`
}

type auditBody struct {
	Account string `json:"account,omitempty" pattern:"^(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$" example:"user:u1" doc:"If absent, all accounts and all transactions are verified."`
}

type deadLetterShape struct {
	ID         string            `json:"id"`
	Group      string            `json:"group" doc:"The consumer group."`
	Subscriber string            `json:"subscriber" doc:"Empty if the entry is not an event."`
	Error      string            `json:"error"`
	Attempts   int               `json:"attempts" minimum:"0"`
	FailedAt   string            `json:"failedAt" format:"date-time"`
	EventID    string            `json:"eventId"`
	EventType  string            `json:"eventType"`
	Account    string            `json:"account"`
	Event      anyValue          `json:"event,omitempty" doc:"The JSON of the event. Absent if the entry has none."`
	Entry      map[string]string `json:"entry" doc:"The other fields of the stream entry."`
}

type anyValue struct{ json.RawMessage }

// Schema describes any JSON. Events of other producers have other members than the ledger's.
func (anyValue) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

type deadLettersShape struct {
	DeadLetters []deadLetterShape `json:"deadLetters" nullable:"false"`
	Next        string            `json:"next,omitempty" doc:"The parameter after of the next page. Absent on the last page."`
}

type replayShape struct {
	ID       string `json:"id"`
	Replayed bool   `json:"replayed"`
}

// newDocument returns the OpenAPI document of the core's admin listener.
func newDocument() *openapi.Document {
	d := openapi.NewAdmin("core", "http://127.0.0.1:9080")
	d.AddAdminCall(openapi.Call{
		ID: "get-outbox", Method: http.MethodGet, Path: "/admin/outbox",
		Summary: "The length and the age of the outbox",
		Answers: map[int]*huma.Response{200: d.JSONAnswer("The outbox.", outboxShape{}, nil)},
	})

	body := d.JSONBody(auditBody{})
	body.Required = false
	d.AddAdminCall(openapi.Call{
		ID: "reconcile", Method: http.MethodPost, Path: "/admin/reconcile",
		Summary: "Verify the ledger, or one account",
		Description: "The call has no time limit. It stops when its client disconnects. Findings are part of the " +
			"answer 200.",
		Body:    body,
		Answers: map[int]*huma.Response{200: d.JSONAnswer("The report.", reportShape{}, nil)},
		Problems: openapi.Codes{
			http.StatusNotFound:              {"account_not_found"},
			http.StatusConflict:              {"reconcile_running"},
			http.StatusRequestEntityTooLarge: {"request_too_large"},
		},
	})

	d.AddAdminCall(openapi.Call{
		ID: "list-dead-letters", Method: http.MethodGet, Path: "/admin/dead-letters",
		Summary: "The events that consumers could not handle, oldest first",
		Params: []openapi.Param{
			openapi.QueryParam("group", "Only those of a consumer group", openapi.Text("")),
			openapi.QueryParam("after", "The cursor from next of the previous page", openapi.Text("")),
			openapi.QueryParam("limit", "The maximum number of results", openapi.Integer(1, maxLetters, defaultLetters)),
		},
		Answers: map[int]*huma.Response{200: d.JSONAnswer("A page of dead letters.", deadLettersShape{}, nil)},
	})
	d.AddAdminCall(openapi.Call{
		ID: "replay-dead-letter", Method: http.MethodPost, Path: "/admin/dead-letters/{id}/replay",
		Summary:  "Pass an event to its subscription again",
		Params:   []openapi.Param{openapi.PathParam("id", "The id of the dead letter", openapi.Text(""), "mailer.3.1700000000000-0")},
		Answers:  map[int]*huma.Response{200: d.JSONAnswer("The event was passed.", replayShape{}, nil)},
		Problems: openapi.Codes{http.StatusNotFound: {"dead_letter_not_found"}},
	})
	d.Finish()
	return d
}

// OpenAPI returns the OpenAPI document of the core's admin listener.
func OpenAPI() ([]byte, error) { return newDocument().JSON() }
