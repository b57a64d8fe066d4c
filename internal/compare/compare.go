package compare

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Ledger answers what it has. *wallet.Ledger implements it.
type Ledger interface {
	// TransactionUpdates returns the events of the transactions that exist, grouped by party.
	TransactionUpdates(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]bus.AccountUpdate, error)
	// Balances returns the balances of the accounts that exist, in any order.
	Balances(ctx context.Context, accounts []string) ([]bus.Balance, error)
	// UpdatesAfter returns the account's first updates that have an event with a seq greater than
	// after.
	UpdatesAfter(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error)
}

// Check names what was compared.
type Check string

// The checks. The comments state what must be true.
const (
	CheckTransaction Check = "transaction"  // the ledger has the transaction
	CheckEvent       Check = "event"        // the transaction has this event: its account, seq and chain
	CheckHash        Check = "balance_hash" // a balance hash has the ledger's balance at its seq
	CheckRecord      Check = "record"       // a stream entry, or a record of the file, can be compared
)

// A Finding is an event, a record or a balance hash that fails a check.
type Finding struct {
	Check         Check  `json:"check"`
	Account       string `json:"account,omitempty"`
	Seq           int64  `json:"seq,omitempty"`
	Chain         string `json:"chain,omitempty"`
	TransactionID string `json:"transactionId,omitempty"`
	EventID       string `json:"eventId,omitempty"`
	EventType     string `json:"eventType,omitempty"`
	Amount        int64  `json:"amount,omitempty"`
	Timestamp     string `json:"timestamp,omitempty"`
	Source        string `json:"source"` // stream and entry id, Redis key, or number of the record
	Detail        string `json:"detail"`
}

// Report counts the compared records and the findings. The findings themselves go to Options.Found.
type Report struct {
	OK               bool    `json:"ok"`
	Events           int64   `json:"events"`  // stream entries or records that were compared
	Hashes           int64   `json:"hashes"`  // balance hashes that were compared
	Behind           int64   `json:"behind"`  // hashes of which nothing is wrong but that the ledger has newer events
	Skipped          int64   `json:"skipped"` // stream entries that are no events of the ledger
	FindingCount     int64   `json:"findingCount"`
	VoidEvents       int64   `json:"voidEvents"`       // findings of CheckTransaction
	VoidTransactions int64   `json:"voidTransactions"` // their transactions; at most MaxDistinct are counted
	VoidAccounts     int64   `json:"voidAccounts"`     // their accounts; at most MaxDistinct are counted
	HashFindings     int64   `json:"hashFindings"`     // findings of CheckHash
	Oldest           string  `json:"oldest,omitempty"` // timestamp of the oldest void event
	Newest           string  `json:"newest,omitempty"`
	Seconds          float64 `json:"seconds"`
}

// MaxDistinct is the largest number of different transactions, and of different accounts, that a
// report counts.
const MaxDistinct = 100_000

// Options are the options of a comparison.
type Options struct {
	// Account limits the comparison to one account. Defaults to all accounts.
	Account string
	// Found is called with each finding. An error ends the comparison. It is required.
	Found func(*Finding) error
	// Progress is called regularly with the number of compared events and the number of all events,
	// or 0 if that is not known. Defaults to none.
	Progress func(done, expected int64)
}

// comparison is the state of one comparison.
type comparison struct {
	ctx          context.Context
	ledger       Ledger
	opts         Options
	report       Report
	expected     int64
	claims       []claim // not yet compared
	transactions map[uuid.UUID]struct{}
	accounts     map[string]struct{}
}

func newComparison(ctx context.Context, ledger Ledger, o Options) *comparison {
	return &comparison{
		ctx:          ctx,
		ledger:       ledger,
		opts:         o,
		transactions: map[uuid.UUID]struct{}{},
		accounts:     map[string]struct{}{},
	}
}

// finishReport completes the report.
func (c *comparison) finishReport(started time.Time) *Report {
	r := &c.report
	r.OK = r.FindingCount == 0
	r.VoidTransactions = int64(len(c.transactions))
	r.VoidAccounts = int64(len(c.accounts))
	r.Seconds = time.Since(started).Seconds()
	return r
}

// A claim is an event that Redis or a file has. Fields that it does not have are zero.
type claim struct {
	account       string
	seq           int64
	chain         bus.Chain
	hasChain      bool
	transactionID uuid.UUID
	eventID       string
	eventType     string
	amount        int64
	timestamp     string
	source        string
}

// claimPage is how many claims are compared at once.
const claimPage = 500

// addClaim compares the claim with the ledger, together with others.
func (c *comparison) addClaim(cl claim) error {
	if c.opts.Account != "" && cl.account != c.opts.Account {
		return nil
	}
	c.claims = append(c.claims, cl)
	if len(c.claims) < claimPage {
		return nil
	}
	return c.compareClaims()
}

// compareClaims compares the claims that were added.
func (c *comparison) compareClaims() error {
	if len(c.claims) == 0 {
		return nil
	}
	distinct := map[uuid.UUID]struct{}{}
	var ids []uuid.UUID
	for i := range c.claims {
		id := c.claims[i].transactionID
		if _, known := distinct[id]; !known {
			distinct[id] = struct{}{}
			ids = append(ids, id)
		}
	}
	found, err := c.ledger.TransactionUpdates(c.ctx, ids)
	if err != nil {
		return err
	}

	for i := range c.claims {
		cl := &c.claims[i]
		updates, exists := found[cl.transactionID]
		if !exists {
			err = c.addVoid(cl)
		} else if detail := cl.compareWith(updates); detail != "" {
			err = c.addFinding(cl.toFinding(CheckEvent, detail))
		}
		if err != nil {
			return err
		}
	}
	c.report.Events += int64(len(c.claims))
	c.claims = c.claims[:0]
	if c.opts.Progress != nil {
		c.opts.Progress(c.report.Events, c.expected)
	}
	return nil
}

// compareWith compares the claim with the events of its transaction. It returns "" if they agree.
func (cl *claim) compareWith(updates []bus.AccountUpdate) string {
	for i := range updates {
		for j := range updates[i].Deliveries {
			d := &updates[i].Deliveries[j]
			if cl.names(d) {
				return cl.compareChain(d)
			}
		}
	}
	if cl.account == "" && cl.eventID == "" {
		return "" // a receipt: the transaction exists
	}
	return "the ledger has the transaction, but not with this event"
}

// names reports whether the claim is about the delivery.
func (cl *claim) names(d *bus.Delivery) bool {
	hasPosition := cl.account != "" && cl.seq > 0
	switch {
	case cl.eventID != "" && cl.eventID != d.ID:
		return false
	case hasPosition:
		return cl.account == d.Account && cl.seq == d.Seq
	}
	return cl.eventID != ""
}

func (cl *claim) compareChain(d *bus.Delivery) string {
	if !cl.hasChain || cl.chain == d.Chain {
		return ""
	}
	return fmt.Sprintf("the ledger has the event with the chain %s", d.Chain)
}

func (cl *claim) toFinding(check Check, detail string) *Finding {
	f := &Finding{
		Check:     check,
		Account:   cl.account,
		Seq:       cl.seq,
		EventID:   cl.eventID,
		EventType: cl.eventType,
		Amount:    cl.amount,
		Timestamp: cl.timestamp,
		Source:    cl.source,
		Detail:    detail,
	}
	if cl.hasChain {
		f.Chain = cl.chain.String()
	}
	if cl.transactionID != uuid.Nil {
		f.TransactionID = cl.transactionID.String()
	}
	return f
}

// addVoid reports an event whose transaction the ledger does not have.
func (c *comparison) addVoid(cl *claim) error {
	c.report.VoidEvents++
	if len(c.transactions) < MaxDistinct {
		c.transactions[cl.transactionID] = struct{}{}
	}
	if cl.account != "" && len(c.accounts) < MaxDistinct {
		c.accounts[cl.account] = struct{}{}
	}
	if cl.timestamp != "" {
		c.widenPeriod(cl.timestamp)
	}
	return c.addFinding(cl.toFinding(CheckTransaction, "the ledger does not have this transaction"))
}

// widenPeriod extends the period of the void events. All timestamps have the same format, so their
// order is the order of time.
func (c *comparison) widenPeriod(timestamp string) {
	r := &c.report
	if r.Oldest == "" || timestamp < r.Oldest {
		r.Oldest = timestamp
	}
	r.Newest = max(r.Newest, timestamp)
}

func (c *comparison) addFinding(f *Finding) error {
	c.report.FindingCount++
	return c.opts.Found(f)
}
