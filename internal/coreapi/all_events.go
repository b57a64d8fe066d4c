package coreapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/openapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// streamEventShape describes an event for one account in the OpenAPI document. It has the fields of a
// stream entry.
type streamEventShape struct {
	ID      string      `json:"id" format:"uuid" doc:"The id of the event. An event with two parties has two items with this id."`
	Type    string      `json:"type" example:"wallet.balance_updated"`
	Account string      `json:"account" example:"user:u1" doc:"The account that the item is for."`
	Seq     int64       `json:"seq" example:"42" doc:"The number of the event among this account's events: 1, 2, 3 and so on, without a gap."`
	Chain   string      `json:"chain" example:"9f3ab2c1d4e5f607" pattern:"^[0-9a-f]{16}$" doc:"Identifies the account's history up to this event."`
	Key     string      `json:"key" doc:"The deduplication key of the transaction and the account."`
	Amount  int64       `json:"amount" example:"100" doc:"Whole points, without a sign."`
	Reason  string      `json:"reason" example:"chip_menu_purchase"`
	Feature string      `json:"feature,omitempty" example:"chip_menu"`
	Copy    bool        `json:"copy,omitempty" doc:"True in the second party's item of an event. Consumers that count events skip it."`
	Event   eventShape  `json:"event"`
	View    *viewOfItem `json:"view,omitempty"`
}

// viewOfItem describes the event as the account may see it.
type viewOfItem struct{ eventShape }

// allEventsShape describes a page of the events of all accounts. appendAllEvents encodes it.
type allEventsShape struct {
	Events []streamEventShape `json:"events" nullable:"false" doc:"In an order that keeps that of each account's seq."`
	Next   string             `json:"next" doc:"The cursor of the following page. It is always present, and it does not expire."`
	More   bool               `json:"more" doc:"If it is false, you have all events that were committed before the request: ask again later with next. If it is true, ask again at once. The page may be empty then."`
}

var (
	eventsCursorParam = openapi.QueryParam("cursor", "The cursor from next of the previous page", openapi.Text(""))
	eventsFromParam   = openapi.QueryParam("from", "The time at which the first page begins. "+
		"It has events that are up to a minute older, since the clocks of cores differ. "+
		"Without cursor and from, the first page begins with the first event. Not together with cursor",
		openapi.Formatted("date-time"))
	eventTypesParam = openapi.QueryParam("types", "Only events of these types, separated by commas. "+
		"A page may have fewer events than limit, or none, although there are more", openapi.Text(""))
)

var allEventsDoc = queryDoc{
	id:      "list-all-events",
	path:    "/v1/events",
	summary: "The events of all accounts, in order",
	description: "The entries of the streams, read from the ledger: for consumers that are new, or that were away " +
		"for longer than the streams keep entries. A reader that follows next gets each event exactly once, also " +
		"while events are added. Start with from, or with the first event, and repeat the call with the cursor from next.",
	readers: eventsScope,
	answer:  allEventsShape{},
	params:  []param{eventsCursorParam, eventsFromParam, eventTypesParam, limitParam},
	refusals: refusals{
		http.StatusConflict: {"history_changed"},
	},
}

// listAllEvents serves GET /v1/events.
func listAllEvents(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	err = c.requireScope(auth.ScopeEvents)
	if err != nil {
		return err
	}

	query, err := c.readQuery("cursor", "from", "types", "limit")
	if err != nil {
		return err
	}
	q := wallet.EventQuery{
		Cursor: query.textValue("cursor"),
		From:   query.timeValue("from"),
		Types:  query.eventTypes(),
		Limit:  query.limitValue(),
	}
	if q.Cursor != "" && !q.From.IsZero() {
		query.recordError("from", "must be absent if cursor is present")
	}
	if query.err != nil {
		return query.err
	}

	var page wallet.EventPage
	err = c.readLedger(func(ctx context.Context) (err error) {
		page, err = c.api.ledger.AllEvents(ctx, q)
		return err
	})
	if err != nil {
		return err
	}

	c.writeBody(http.StatusOK, appendAllEvents(c.newBodyFor(minTransfer), &page))
	return nil
}

var knownEventTypes = []string{
	wallet.EventEscrowHeld,
	wallet.EventEscrowSettled,
	wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled,
	wallet.EventBalanceUpdated,
}

func (q *query) eventTypes() []string {
	text := q.textValue("types")
	if text == "" {
		return nil
	}

	types := strings.Split(text, ",")
	for _, eventType := range types {
		if !slices.Contains(knownEventTypes, eventType) {
			q.recordError("types", "must be event types, separated by commas: "+strings.Join(knownEventTypes, ", "))
		}
	}
	return types
}

// appendAllEvents appends a page. The events are already JSON. Of the other texts only a feature can
// have characters that need escaping.
func appendAllEvents(b []byte, page *wallet.EventPage) []byte {
	b = append(b, `{"events":[`...)
	for i := range page.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendStreamEvent(b, &page.Events[i])
	}
	b = append(b, `],"next":"`...)
	b = append(b, page.Next...)
	b = append(b, `","more":`...)
	b = strconv.AppendBool(b, page.More)
	return append(b, '}')
}

// AppendStreamEvent appends the JSON of an event, in the same form as in the API.
func AppendStreamEvent(b []byte, e *wallet.StreamEvent) []byte {
	appendText := func(prefix, text string) {
		b = append(b, prefix...)
		b = append(b, text...)
		b = append(b, '"')
	}

	appendText(`{"id":"`, e.ID)
	appendText(`,"type":"`, e.Type)
	appendText(`,"account":"`, e.Account)
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, e.Seq, 10)
	appendText(`,"chain":"`, e.Chain.String())
	appendText(`,"key":"`, e.Key)
	b = append(b, `,"amount":`...)
	b = strconv.AppendInt(b, e.Amount, 10)
	appendText(`,"reason":"`, e.Reason)
	if e.Feature != "" {
		feature, _ := json.Marshal(e.Feature) // never fails for a string
		b = append(b, `,"feature":`...)
		b = append(b, feature...)
	}
	if e.SecondParty {
		b = append(b, `,"copy":true`...)
	}
	b = append(b, `,"event":`...)
	b = append(b, e.Data...)
	if e.View != nil {
		b = append(b, `,"view":`...)
		b = append(b, e.View...)
	}
	return append(b, '}')
}

// EventTime returns the time of an event's transaction, or the zero time if its key has none.
func EventTime(e *wallet.StreamEvent) time.Time {
	id, _, _ := strings.Cut(e.Key, ":")
	transaction, ok := parseUUID(id)
	if !ok {
		return time.Time{}
	}
	seconds, nanoseconds := transaction.Time().UnixTime()
	return time.Unix(seconds, nanoseconds)
}
