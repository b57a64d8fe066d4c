package bus

// A Delivery is one event for one account. An event with two parties becomes two deliveries with
// the same ID, each with its own account and seq.
type Delivery struct {
	ID          string // event id (UUID), the same in both deliveries of an event with two parties
	Type        string // event type, such as wallet.escrow_held
	Account     string // user:<id> or model:<id>
	Seq         int64  // number among the account's events: 1, 2, 3 … without a hole
	Chain       Chain  // identifies the account's history up to this event
	Amount      int64  // whole points; 0: the event has none
	Reason      string // reason code; empty: the event has none
	Feature     string // featureType; empty: the event has none
	Data        []byte // complete event, JSON on one line
	View        []byte // the account's view of the event, JSON on one line; nil: it equals Data
	SecondParty bool   // the second party's delivery, which consumers of business events skip

	// TraceParent is the W3C trace context of the request that caused the event. It is empty if the
	// request had none or if it is not stored any more.
	TraceParent string

	// StreamMillis is the time at which Redis added the entry, in milliseconds since 1970. It is
	// the first half of the entry id. Only the tail sets it.
	StreamMillis int64
}

// ForAccount returns the JSON that the account itself may see.
func (d *Delivery) ForAccount() []byte {
	if d.View != nil {
		return d.View
	}
	return d.Data
}

// HasLineBreak reports whether Data or View contains a line break. A delivery with a line break is
// malformed: it is neither published nor delivered.
func (d *Delivery) HasLineBreak() bool { return HasLineBreak(d.Data) || HasLineBreak(d.View) }

// An AccountUpdate contains the deliveries of one transaction to one account. Their seq is
// consecutive, and they are published together or not at all.
type AccountUpdate struct {
	Key        string     // deduplication key, unique per transaction and account
	Account    string     // account of all deliveries
	Before     Chain      // Chain of the account's event before the first delivery; 0: there is none
	Deliveries []Delivery // at least one; Seq rises by one from each to the next
	Balance    Balance    // the account's balance after the last delivery
}

// First returns the seq of the first delivery.
func (u *AccountUpdate) First() int64 { return u.Deliveries[0].Seq }

// Last returns the seq of the last delivery.
func (u *AccountUpdate) Last() int64 { return u.Deliveries[len(u.Deliveries)-1].Seq }

// Chain returns the chain of the last delivery.
func (u *AccountUpdate) Chain() Chain { return u.Deliveries[len(u.Deliveries)-1].Chain }

// deliveryOverhead is about how many bytes a delivery takes besides its payload: ids, names,
// reasons.
const deliveryOverhead = 200

// PayloadSize returns about how many bytes the update takes in Redis. valid is false if its
// deliveries are not numbered consecutively from at least 1, or if a payload contains a line break.
func (u *AccountUpdate) PayloadSize() (size int, valid bool) {
	if len(u.Deliveries) == 0 || u.First() < 1 {
		return 0, false
	}

	for i := range u.Deliveries {
		d := &u.Deliveries[i]
		if d.Seq != u.First()+int64(i) || d.HasLineBreak() {
			return 0, false
		}

		size += len(d.Data) + len(d.View) + deliveryOverhead
	}

	return size, true
}
