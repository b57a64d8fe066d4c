package coreapi

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// eventShape describes an event in the OpenAPI document.
type eventShape struct {
	Account string         `json:"account" example:"user:u1"`
	Seq     int64          `json:"seq" example:"42" doc:"The event's number among this account's events: 1, 2, 3 … with no hole."`
	Event   map[string]any `json:"event" doc:"The event as this account may see it: eventId, eventType, timestamp, transactionId, reason, source, version and what the type adds."`
}

// eventsShape describes a page of events in the OpenAPI document; appendEvents writes it.
type eventsShape struct {
	Events []eventShape `json:"events" nullable:"false" doc:"Oldest first."`
	Last   int64        `json:"last" example:"42" doc:"The account's newest seq. More is to be had when it is above the last event's."`
}

var eventsDoc = queryDoc{
	id:          "list-events",
	path:        "/v1/accounts/{account}/events",
	summary:     "An account's events, oldest first",
	description: "The events that the WebSocket delivers, from the ledger: by seq, without a hole, for ever.",
	readers:     ownAccount,
	answer:      eventsShape{},
	params:      []param{accountParam, afterParam, limitParam},
	headers: map[string]*huma.Param{
		coreclient.HeaderStreams: {Description: "Where in Redis events are published: namespace/partitions.", Schema: stringSchema("")},
	},
}

// listEvents serves GET /v1/accounts/{account}/events.
func listEvents(c *call) error {
	if err := c.authenticate(); err != nil {
		return err
	}
	c.w.Header().Set(coreclient.HeaderStreams, c.api.streams)
	account, err := c.accountToRead()
	if err != nil {
		return err
	}
	if err := c.requireReadable(string(account)); err != nil {
		return err
	}

	query, err := c.readQuery("after", "limit")
	if err != nil {
		return err
	}
	after := query.number("after", 0, wallet.MaxAmount, 0)
	limit := query.limit()
	if query.err != nil {
		return query.err
	}

	ctx, cancel := c.queryContext()
	defer cancel()
	events, last, err := c.api.ledger.Events(ctx, account, after, limit)
	if err != nil {
		return err
	}

	c.writeBody(http.StatusOK, appendEvents(c.newBody(), events, last))
	return nil
}

// appendEvents appends a page of events, each of which is JSON already. Accounts have nothing to
// escape.
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
		b = append(b, `,"event":`...)
		b = append(b, events[i].Event...)
		b = append(b, '}')
	}
	b = append(b, `],"last":`...)
	b = strconv.AppendInt(b, last, 10)
	return append(b, '}')
}
