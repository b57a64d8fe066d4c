package coreapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/openapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// accountEventShape describes an event in the OpenAPI document.
type accountEventShape struct {
	Account string     `json:"account" example:"user:u1"`
	Seq     int64      `json:"seq" example:"42" doc:"The number of the event among this account's events: 1, 2, 3 and so on, without a gap."`
	Chain   string     `json:"chain" example:"9f3ab2c1d4e5f607" pattern:"^[0-9a-f]{16}$" doc:"Identifies the account's history up to this event. It differs if the ledger went back to an earlier time and gave the same seq to another event."`
	Event   eventShape `json:"event"`
}

// eventShape describes an event in the form for one account.
type eventShape struct{}

// Schema returns the schema of docs/asyncapi.json.
func (eventShape) Schema(huma.Registry) *huma.Schema { return openapi.ReferTo("Event") }

// eventsShape describes a page of events in the OpenAPI document. appendEvents encodes it.
type eventsShape struct {
	Events []accountEventShape `json:"events" nullable:"false" doc:"The oldest first."`
	Last   int64               `json:"last" example:"42" doc:"The newest seq of the account. If it is greater than the seq of the last event in this page, there are more events."`
}

var eventsDoc = queryDoc{
	id:      "list-events",
	path:    "/v1/accounts/{account}/events",
	summary: "An account's events, oldest first",
	description: "The events that the WebSocket delivers, read from the ledger. They are in order of " +
		"seq, without a gap, and they do not expire.",
	readers:  ownAccount,
	answer:   eventsShape{},
	notFound: "account_not_found",
	params:   []param{accountParam, afterParam, limitParam},
	headers: map[string]param{
		coreclient.HeaderStreams: openapi.Header(
			"The place in Redis where the events are published: namespace/partitions.", openapi.Text("")),
	},
}

// listEvents serves GET /v1/accounts/{account}/events.
func listEvents(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	c.w.Header().Set(coreclient.HeaderStreams, c.api.streams)
	account, err := c.accountToRead()
	if err != nil {
		return err
	}

	query, err := c.readQuery("after", "limit")
	if err != nil {
		return err
	}
	after := query.numberValue("after", 0, wallet.MaxAmount, 0)
	limit := query.limitValue()
	if query.err != nil {
		return query.err
	}

	var events []wallet.AccountEvent
	var last int64
	err = c.readLedger(func(ctx context.Context) (err error) {
		events, last, err = c.api.ledger.Events(ctx, account, after, limit)
		return err
	})
	if err != nil {
		return err
	}

	c.writeBody(http.StatusOK, appendEvents(c.newBodyFor(minTransfer), events, last))
	return nil
}

// appendEvents appends a page of events. Each event is already JSON. Accounts have no characters
// that need escaping.
func appendEvents(b []byte, events []wallet.AccountEvent, last int64) []byte {
	b = append(b, `{"events":[`...)
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"account":"`...)
		b = append(b, events[i].Account...)
		b = append(b, `","seq":`...)
		b = strconv.AppendInt(b, events[i].Seq, 10)
		b = append(b, `,"chain":"`...)
		b = events[i].Chain.AppendHex(b)
		b = append(b, `","event":`...)
		b = append(b, events[i].Event...)
		b = append(b, '}')
	}
	b = append(b, `],"last":`...)
	b = strconv.AppendInt(b, last, 10)
	return append(b, '}')
}
