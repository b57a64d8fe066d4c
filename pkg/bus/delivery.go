package bus

// A Delivery is one event on its way to one account. An event with two parties
// becomes two deliveries with the same ID, each with its own account and seq.
type Delivery struct {
	ID          string // event id (UUID), the same in both deliveries of a two-party event
	Type        string // event type, such as wallet.escrow_held
	Account     string // whose event it is: user:<id> or model:<id>
	Seq         int64  // number among that account's events: 1, 2, 3 … without a hole
	Amount      int64  // whole points; 0 when the event has none
	Reason      string // reason code; empty when the event has none
	Feature     string // featureType; empty when the event has none
	Data        []byte // full event, JSON
	View        []byte // the account's own view, JSON; nil when it equals Data
	SecondParty bool   // second party's delivery: consumers of business events skip it

	TraceParent string // W3C trace context of the request that caused the event; empty when it had none, or when that is forgotten

	// StreamMillis is when Redis took the entry, in milliseconds since 1970 (the
	// first half of its stream id). Only the tail sets it.
	StreamMillis int64
}

// ForAccount returns the JSON that the account itself may see.
func (d *Delivery) ForAccount() []byte {
	if d.View != nil {
		return d.View
	}
	return d.Data
}

// A AccountUpdate is what one transaction delivers to one account: consecutive seq,
// published together or not at all.
type AccountUpdate struct {
	Key        string     // deduplication key, unique per transaction and account
	Account    string     // account of all deliveries
	Deliveries []Delivery // at least one; Seq rises by one from each to the next
	Balance    Balance    // the account's balances after the last delivery
}

// First is the seq of the group's first delivery.
func (g *AccountUpdate) First() int64 { return g.Deliveries[0].Seq }

// Last is the seq of the group's last delivery.
func (g *AccountUpdate) Last() int64 { return g.Deliveries[len(g.Deliveries)-1].Seq }

// PayloadSize returns about how many bytes the group takes in Redis. valid is false when its deliveries
// are not numbered consecutively from at least 1.
func (g *AccountUpdate) PayloadSize() (size int, valid bool) {
	if len(g.Deliveries) == 0 || g.First() < 1 {
		return 0, false
	}
	for i := range g.Deliveries {
		d := &g.Deliveries[i]
		if d.Seq != g.First()+int64(i) {
			return 0, false
		}
		size += len(d.Data) + len(d.View) + 200 // ids, names, reasons
	}
	return size, true
}
