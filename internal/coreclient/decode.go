package coreclient

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// page is the answer of /events.
type page struct {
	Events []struct {
		Account string         `json:"account"`
		Seq     int64          `json:"seq"`
		Event   jsontext.Value `json:"event"`
	} `json:"events"`
	Last *int64 `json:"last"`
}

// routing is what of an event filters look at. The streams carry these as fields
// of their own; only history has to be decoded for them.
type routing struct {
	EventID      string `json:"eventId"`
	EventType    string `json:"eventType"`
	Reason       string `json:"reason"`
	FeatureType  string `json:"featureType"`
	Amount       int64  `json:"amount"`
	RefundAmount int64  `json:"refundAmount"`
	SettleAmount int64  `json:"settleAmount"`
	ChangeAmount int64  `json:"changeAmount"`
}

// eventAmount is the number that the streams carry: an escrow's amount, of which a
// partial settlement has two parts, or the size of a balance's change.
func (r *routing) eventAmount() int64 {
	if r.Amount != 0 {
		return r.Amount
	}
	return r.RefundAmount + r.SettleAmount + max(r.ChangeAmount, -r.ChangeAmount)
}

var errNotCore = errors.New("the answer is not a core's")

var errSequence = errors.New("the events are not in order of seq or not the account's")

func decodeEvents(account string, body []byte) ([]bus.Delivery, int64, error) {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, 0, err
	}
	if p.Last == nil {
		return nil, 0, errNotCore
	}
	out := make([]bus.Delivery, len(p.Events))
	for i := range p.Events {
		e := &p.Events[i]
		if e.Account != account || i > 0 && e.Seq != p.Events[i-1].Seq+1 {
			return nil, 0, errSequence
		}
		var r routing
		if err := json.Unmarshal(e.Event, &r); err != nil {
			return nil, 0, fmt.Errorf("event %d: %w", e.Seq, err)
		}
		out[i] = bus.Delivery{
			ID: r.EventID, Type: r.EventType, Account: account, Seq: e.Seq,
			Amount: r.eventAmount(), Reason: r.Reason, Feature: r.FeatureType, Data: e.Event,
		}
	}
	return out, *p.Last, nil
}
