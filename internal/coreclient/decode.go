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
		Chain   *bus.Chain     `json:"chain"`
		Event   jsontext.Value `json:"event"`
	} `json:"events"`
	Last *int64 `json:"last"`
}

// routing has the members of an event that filters use. Stream entries have them as separate
// fields, so only events from the core must be decoded.
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

// eventAmount returns the amount that a stream entry would have: the amount of an escrow, the sum of
// the two amounts of a partial settlement, or the absolute change of a balance.
func (r *routing) eventAmount() int64 {
	if r.Amount != 0 {
		return r.Amount
	}
	change := max(r.ChangeAmount, -r.ChangeAmount)
	return r.RefundAmount + r.SettleAmount + change
}

var (
	errNotCore  = errors.New("the answer does not come from a core")
	errSequence = errors.New("the events must belong to the account and have consecutive seqs")
	errNoChain  = errors.New("each event must have a chain")
)

func decodeEvents(account string, body []byte) ([]bus.Delivery, int64, error) {
	var p page
	err := json.Unmarshal(body, &p)
	if err != nil {
		return nil, 0, err
	}
	if p.Last == nil {
		return nil, 0, errNotCore
	}

	deliveries := make([]bus.Delivery, len(p.Events))
	for i := range p.Events {
		e := &p.Events[i]
		isConsecutive := i == 0 || e.Seq == p.Events[i-1].Seq+1
		if e.Account != account || !isConsecutive {
			return nil, 0, errSequence
		}
		if e.Chain == nil {
			return nil, 0, errNoChain
		}

		var r routing
		err := json.Unmarshal(e.Event, &r)
		if err != nil {
			return nil, 0, fmt.Errorf("decode event %d: %w", e.Seq, err)
		}
		deliveries[i] = bus.Delivery{
			ID:      r.EventID,
			Type:    r.EventType,
			Account: account,
			Seq:     e.Seq,
			Chain:   *e.Chain,
			Amount:  r.eventAmount(),
			Reason:  r.Reason,
			Feature: r.FeatureType,
			Data:    e.Event,
		}
	}
	return deliveries, *p.Last, nil
}
