package e2e

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/client"
)

// maxEventDelay bounds the time from the HTTP answer to the event at a client.
const maxEventDelay = 5 * time.Second

// TestEachEventReachesClientsStreamsAndHistory does every operation of the contract over HTTP. It
// checks every field of every event, at both parties' clients on two gateways, in the streams and
// in the ledger's history.
func TestEachEventReachesClientsStreamsAndHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateways := []*server{w.startGateway(core.baseURL()), w.startGateway(core.baseURL())}
	a := w.newAPI(core)
	var clients []*rawClient
	for _, g := range gateways {
		for _, account := range []string{userAccount, modelAccount} {
			clients = append(clients, w.startClient(account+" on "+g.http, []*server{g}, account))
		}
	}
	ofAll := w.newClient("all accounts", gateways[:1], "*")
	ofAll.token = w.signToken("all accounts", nil, "events:all")
	ofAll.connect()

	want := doPath(t, a)
	for _, c := range clients {
		checkClientOfPath(t, c, a, want)
	}
	reader := w.newStreamReader()
	w.checkAgreement(a, reader, []string{userAccount, modelAccount}, clients...)
	for account, party := range want.parties {
		w.checkHistory(a, account, party.views)
		w.checkStreamEntries(reader, account, party)
	}
	ofAll.waitUntil("all events", func() bool { return len(ofAll.allEvents) >= len(want.all) })
	checkEqual(t, "events of the client of all accounts", len(ofAll.allEvents), len(want.all))
	got := make([]object, len(ofAll.allEvents))
	for i := range got {
		got[i] = w.decodeObject(ofAll.allEvents[i])
	}
	groupByParty(got)
	groupByParty(want.all)
	for i := range min(len(got), len(want.all)) {
		w.checkEvent("event of all accounts", got[i], want.all[i])
	}
}

// groupByParty puts the model's events after those of the user and keeps the order of each. Only
// events of the same account have an order, since the accounts are in different partitions.
func groupByParty(events []object) {
	slices.SortStableFunc(events, func(a, b object) int {
		return cmp.Compare(partyOrder(a), partyOrder(b))
	})
}

func partyOrder(event object) int {
	if event["accountType"] == "model" {
		return 1
	}
	return 0
}

// pathEvents are the events that the operations of the path must have.
type pathEvents struct {
	all     []object // in the order of the operations
	parties map[string]*partyEvents
}

// partyEvents are the events of one account, in the order of their seqs.
type partyEvents struct {
	views      []object // as the account itself may see them
	isOriginal []bool   // false for a copy in the stream
	answeredAt []time.Time
}

// doPath does the operations of the path and returns the events that they must have.
func doPath(t *testing.T, a *api) *pathEvents {
	t.Helper()
	want := &pathEvents{parties: map[string]*partyEvents{userAccount: {}, modelAccount: {}}}
	escrow := ""
	for _, s := range listPathSteps() {
		got := a.mustDo(s.operation(escrow))
		answeredAt := time.Now()
		if got.EscrowID != "" {
			escrow = got.EscrowID
		}
		for _, e := range s.events {
			addRequestFields(e, s.reason, got)
			want.all = append(want.all, e)
		}
		for _, i := range s.user {
			want.parties[userAccount].addEvent(s.events[i], hiddenFromUser, true, answeredAt)
		}
		for _, i := range s.model {
			isOriginal := len(s.user) == 0 || i > 0
			want.parties[modelAccount].addEvent(s.events[i], hiddenFromModel, isOriginal, answeredAt)
		}
		for _, b := range got.Balances {
			name := s.name + ": seq of " + b.Account + " in the receipt"
			checkEqual(t, name, b.Seq, int64(len(want.parties[b.Account].views)))
		}
	}
	return want
}

// addRequestFields adds the fields that an event has from its request and its transaction.
func addRequestFields(e object, reason string, r client.Receipt) {
	e["transactionId"] = r.TransactionID
	e["timestamp"] = r.Timestamp.Format(bus.TimeFormat)
	e["source"] = "wallet-core"
	e["version"] = "1.0"
	e["reason"] = reason
	if e["accountId"] == nil {
		e["escrowId"] = r.EscrowID
	}
}

func (p *partyEvents) addEvent(event object, hidden []string, isOriginal bool, answeredAt time.Time) {
	view := maps.Clone(event)
	for _, field := range hidden {
		delete(view, field)
	}
	p.views = append(p.views, view)
	p.isOriginal = append(p.isOriginal, isOriginal)
	p.answeredAt = append(p.answeredAt, answeredAt)
}

// checkClientOfPath checks that the client has each event of its account, and has it soon.
func checkClientOfPath(t *testing.T, c *rawClient, a *api, want *pathEvents) {
	t.Helper()
	account := c.accounts[0]
	c.checkAccount(account, a.readHistory(account), a.readBalance(account))
	events := c.events[account]
	answeredAt := want.parties[account].answeredAt
	checkEqual(t, "events of client "+c.name, len(events), len(answeredAt))
	for _, e := range events {
		delay := e.at.Sub(answeredAt[e.seq-1])
		if delay > maxEventDelay {
			t.Errorf("delay of event %d at client %s: got %s, want at most %s", e.seq, c.name, delay, maxEventDelay)
		}
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// checkEvent compares an event with the expected one. It does not compare the ids of the event and
// of its ledger entry, which the test cannot know, but checks their form.
func (w *world) checkEvent(name string, got, want object) {
	w.Helper()
	got = maps.Clone(got)
	id, _ := got["eventId"].(string)
	delete(got, "eventId")
	if !uuidForm.MatchString(id) {
		w.Errorf("%s: got eventId %q, want a UUID", name, id)
	}
	entryID, hasEntry := got["ledgerEntryId"].(string)
	delete(got, "ledgerEntryId")
	checkEqual(w, name+" has a ledgerEntryId", hasEntry, want["accountId"] != nil)
	if hasEntry && !uuidForm.MatchString(entryID) {
		w.Errorf("%s: got ledgerEntryId %q, want a UUID", name, entryID)
	}
	text, err := json.Marshal(want)
	if err != nil {
		w.Fatal(err)
	}
	if decoded := w.decodeObject(text); !reflect.DeepEqual(got, decoded) {
		w.Errorf("%s:\ngot  %v\nwant %v", name, got, decoded)
	}
}

// checkHistory compares the ledger's history with the expected events, and the entries that the
// events name with the ledger's entries.
func (w *world) checkHistory(a *api, account string, want []object) {
	w.Helper()
	entryIDs := map[int64]string{}
	chains := map[int64]string{}
	for e, err := range a.Entries(w.Context(), account, client.EntriesFilter{}) {
		if err != nil {
			w.Fatal(err)
		}
		entryIDs[e.Seq] = e.EntryID
		chains[e.Seq] = e.Hash[:16]
	}
	for i, e := range a.readHistory(account) {
		name := "event " + strconv.Itoa(i+1) + " of " + account
		got := w.decodeObject(e.JSON)
		w.checkEvent(name, got, want[i])
		id, _ := got["ledgerEntryId"].(string)
		checkEqual(w, name+": ledgerEntryId", id, entryIDs[e.Seq])
		if id != "" {
			checkEqual(w, name+": chain", e.Chain, chains[e.Seq])
		}
	}
}

// checkStreamEntries compares the account's stream entries with the expected ones, field by field.
func (w *world) checkStreamEntries(reader *streamReader, account string, want *partyEvents) {
	w.Helper()
	for i, e := range reader.entries[account] {
		name := "stream entry " + strconv.Itoa(i+1) + " of " + account
		fields := w.expectedFields(e, account, i+1, want.isOriginal[i])
		if !reflect.DeepEqual(e.fields, fields) {
			w.Errorf("%s:\ngot  %v\nwant %v", name, e.fields, fields)
		}
		if e.fields["key"] == "" {
			w.Errorf("%s: got no key", name)
		}
		w.checkEvent(name, w.decodeObject([]byte(e.accountView())), want.views[i])
	}
}

// expectedFields returns the fields of a stream entry. Those that checkAgreement has compared, and
// the key, are taken from the entry itself.
func (w *world) expectedFields(e streamEntry, account string, seq int, isOriginal bool) map[string]string {
	w.Helper()
	data := w.decodeObject([]byte(e.fields["data"]))
	fields := map[string]string{
		"id":      data["eventId"].(string),
		"type":    data["eventType"].(string),
		"account": account,
		"seq":     strconv.Itoa(seq),
		"reason":  data["reason"].(string),
		"data":    e.fields["data"],
		"key":     e.fields["key"],
		"amount":  e.fields["amount"],
		"chain":   e.fields["chain"],
	}
	if amount, ok := data["amount"].(float64); ok {
		fields["amount"] = strconv.Itoa(int(amount))
	}
	if feature, ok := data["featureType"].(string); ok {
		fields["feature"] = feature
	}
	view := w.decodeObject([]byte(e.accountView()))
	if !reflect.DeepEqual(data, view) {
		fields["view"] = e.fields["view"]
	}
	if !isOriginal {
		fields["copy"] = "1"
	}
	return fields
}

// TestExpiredHoldReachesTheClient makes a hold that expires. The core refunds it by itself.
func TestExpiredHoldReachesTheClient(t *testing.T) {
	t.Parallel()
	const user = "user:expiry"
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	a.mustDo(newCredit(user, 10))
	c := w.startClient("expiry", []*server{gateway}, user)
	expiring := newHold(user, 10)
	expiring.ExpiresIn = time.Second
	a.mustDo(expiring)
	c.waitForSeq(user, 7)
	events := c.events[user]
	expiry := events[len(events)-3:]
	for i, eventType := range []string{"wallet.escrow_refunded", "wallet.balance_updated", "wallet.balance_updated"} {
		name := "event " + strconv.Itoa(i) + " of the expiry"
		e := w.decodeObject(expiry[i].event)
		checkEqual[any](t, name+": type", e["eventType"], eventType)
		checkEqual[any](t, name+": reason", e["reason"], "rope_drop_timeout")
	}
	c.checkAccount(user, a.readHistory(user), a.readBalance(user))
}
