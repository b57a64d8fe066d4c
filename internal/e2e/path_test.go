package e2e

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// step is one write and the events that the contract says it has.
type step struct {
	name  string
	write func(escrow string) write // of the latest hold
	full  []object                  // events of both parties in order: what stream consumers see
	user  []int                     // the user's, as places in full
	model []int                     // the model's
}

const (
	userAccount  = "user:path.u1"
	modelAccount = "model:path~m1"
)

func updated(account, kind, state string, before, after int64) object {
	return object{
		"eventType": "wallet.balance_updated", "accountId": account, "accountType": kind, "balanceState": state,
		"balanceBefore": before, "balanceAfter": after, "changeAmount": after - before,
	}
}

func available(before, after int64) object {
	return updated(userAccount, "user", "available", before, after)
}
func escrow(before, after int64) object { return updated(userAccount, "user", "escrow", before, after) }
func earned(before, after int64) object {
	return updated(modelAccount, "model", "earned", before, after)
}

func with(w write, fields object) write {
	maps.Copy(w.body, fields)
	return w
}

// path goes through every operation and every event of the contract's table.
func path() []step {
	order := object{"correlationId": "order \"1\"", "metadata": object{"note": "<b>ünïcode</b>", "n": []any{1.0, nil}}}
	also := func(o object) object {
		maps.Copy(o, order)
		return o
	}
	return []step{
		{"credit", func(string) write { return with(credit(userAccount, 1000), order) },
			[]object{also(available(0, 1000))}, []int{0}, nil},
		{"hold", func(string) write { return with(hold(userAccount, 100), order) },
			[]object{
				also(object{"eventType": "wallet.escrow_held", "userId": userAccount, "amount": 100, "queueItemId": "q1",
					"featureType": "chip_menu", "userAvailableBalance": 900, "userEscrowBalance": 100}),
				also(available(1000, 900)), also(escrow(0, 100)),
			}, []int{0, 1, 2}, nil},
		{"settle", func(e string) write { return settle(e, modelAccount, 100) },
			[]object{
				{"eventType": "wallet.escrow_settled", "userId": userAccount, "modelId": modelAccount, "amount": 100,
					"queueItemId": "q1", "modelEarnedBalance": 100},
				escrow(100, 0), earned(0, 100),
			}, []int{0, 1}, []int{0, 2}},
		{"hold to refund", func(string) write { return hold(userAccount, 200) },
			[]object{
				{"eventType": "wallet.escrow_held", "userId": userAccount, "amount": 200, "queueItemId": "q1",
					"featureType": "chip_menu", "userAvailableBalance": 700, "userEscrowBalance": 200},
				available(900, 700), escrow(0, 200),
			}, []int{0, 1, 2}, nil},
		{"refund", func(e string) write { return refund(e, 200) },
			[]object{
				{"eventType": "wallet.escrow_refunded", "userId": userAccount, "amount": 200, "queueItemId": "q1",
					"userAvailableBalance": 900, "userEscrowBalance": 0},
				escrow(200, 0), available(700, 900),
			}, []int{0, 1, 2}, nil},
		{"hold to share", func(string) write { return hold(userAccount, 300) },
			[]object{
				{"eventType": "wallet.escrow_held", "userId": userAccount, "amount": 300, "queueItemId": "q1",
					"featureType": "chip_menu", "userAvailableBalance": 600, "userEscrowBalance": 300},
				available(900, 600), escrow(0, 300),
			}, []int{0, 1, 2}, nil},
		{"partial settlement", func(e string) write { return with(partial(e, modelAccount, 120, 180), order) },
			[]object{
				also(object{"eventType": "wallet.escrow_partial_settled", "userId": userAccount, "modelId": modelAccount,
					"refundAmount": 120, "settleAmount": 180, "queueItemId": "q1",
					"userAvailableBalance": 720, "userEscrowBalance": 0, "modelEarnedBalance": 280}),
				also(escrow(300, 0)), also(available(600, 720)), also(earned(100, 280)),
			}, []int{0, 1, 2}, []int{0, 3}},
		{"debit", func(string) write { return debit(userAccount, 20, "admin_debit") }, []object{available(720, 700)}, []int{0}, nil},
		{"payout", func(string) write { return debit(modelAccount, 80, "payout") }, []object{earned(280, 200)}, nil, []int{0}},
	}
}

func debit(account string, amount int64, reason string) write {
	return write{"/v1/accounts/" + account + "/debits", newKey(), object{"amount": amount, "reason": reason}}
}

// TestEveryEventFromHTTPToTheScreen makes every operation of the contract over HTTP, and looks at every field of every
// event: on both parties' screens on both gateways, in the streams, in the ledger's history.
func TestEveryEventFromHTTPToTheScreen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	one, two := w.gateway(core.url()), w.gateway(core.url())
	a := w.api(core)
	var clients []*client
	for _, g := range []*server{one, two} {
		for _, account := range []string{userAccount, modelAccount} {
			clients = append(clients, w.client(account+" on "+g.http, []*server{g}, account))
		}
	}
	everything := w.newClient("everything", []*server{one}, "*")
	everything.token = w.token("everything", nil, "events:all")
	w.start(everything)

	var full []object // what ["*"] sees, in order
	want := map[string][]object{}
	firsts := map[string][]bool{} // not a copy
	answered := map[string][]time.Time{}
	escrowID := ""
	for _, s := range path() {
		wr := s.write(escrowID)
		got := a.do(wr)
		if got.receipt.EscrowID != "" {
			escrowID = got.receipt.EscrowID
		}
		for _, e := range s.full {
			complete(e, wr, got.receipt)
			full = append(full, e)
		}
		for _, party := range []struct {
			account string
			places  []int
			hidden  []string
		}{
			{userAccount, s.user, []string{"modelEarnedBalance"}},
			{modelAccount, s.model, []string{"userAvailableBalance", "userEscrowBalance"}},
		} {
			for _, place := range party.places {
				view := maps.Clone(s.full[place])
				for _, name := range party.hidden {
					delete(view, name)
				}
				want[party.account] = append(want[party.account], view)
				firsts[party.account] = append(firsts[party.account], party.account == userAccount || len(s.user) == 0 || place > 0)
				answered[party.account] = append(answered[party.account], got.at)
			}
			for _, b := range got.receipt.Balances {
				if b.AccountID == party.account && b.Seq != int64(len(want[party.account])) {
					t.Errorf("%s: the receipt says seq %d for %s, its events are %d", s.name, b.Seq, b.AccountID, len(want[party.account]))
				}
			}
		}
	}

	var slowest time.Duration
	for _, c := range clients {
		account := c.accounts[0]
		c.agrees(account, a.history(account), a.balance(account))
		for _, s := range c.shown[account] {
			slowest = max(slowest, s.at.Sub(answered[account][s.seq-1]))
		}
		if n := len(c.shown[account]); n != len(want[account]) {
			t.Errorf("client %s shows %d events, want %d", c.name, n, len(want[account]))
		}
	}
	t.Logf("from the HTTP answer to the screen: at most %s", slowest)
	if slowest > 5*time.Second {
		t.Errorf("an event took %s from the HTTP answer to the screen", slowest)
	}

	stream := w.consumer()
	w.allAgree(a, stream, []string{userAccount, modelAccount}, clients...)
	for account, events := range want {
		w.historyIs(a, account, events)
		w.streamIs(stream, account, events, firsts[account])
	}
	everything.await("all events", func() bool { return len(everything.order) >= len(full) })
	for i, raw := range everything.order {
		if i >= len(full) {
			t.Errorf("everything: one event too many: %s", raw)
			continue
		}
		w.same("everything", w.decoded(raw), full[i])
	}
	w.mayExpire(one, a)
}

// complete adds what an event has from its request and its transaction.
func complete(e object, wr write, r receipt) {
	e["transactionId"], e["timestamp"], e["source"], e["version"] = r.TransactionID, r.Timestamp, "wallet-core", "1.0"
	e["reason"] = wr.body["reason"]
	if e["accountId"] == nil {
		e["escrowId"] = r.EscrowID
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// same compares an event with what is expected of it, but for its own id and its entry's, and returns the event's id.
func (w *world) same(where string, got, want object) string {
	w.Helper()
	got = maps.Clone(got)
	id, _ := got["eventId"].(string)
	delete(got, "eventId")
	entryID, isEntry := got["ledgerEntryId"].(string)
	delete(got, "ledgerEntryId")
	if !uuidForm.MatchString(id) || isEntry != (want["accountId"] != nil) || isEntry && !uuidForm.MatchString(entryID) {
		w.Errorf("%s: eventId %q, ledgerEntryId %q in %v", where, id, entryID, got)
	}
	text, err := json.Marshal(want)
	if err != nil {
		w.Fatal(err)
	}
	if plain := w.decoded(text); !reflect.DeepEqual(got, plain) {
		w.Errorf("%s: got\n%v\nwant\n%v", where, got, plain)
	}
	return id
}

// historyIs compares the ledger's history, which all screens agree with, and its entries, which events name.
func (w *world) historyIs(a *api, account string, want []object) {
	w.Helper()
	var list struct {
		Entries []struct {
			EntryID string `json:"entryId"`
			Seq     int64  `json:"seq"`
		} `json:"entries"`
	}
	a.get("/v1/accounts/"+account+"/entries?limit=1000", &list)
	entries := map[int64]string{}
	for _, e := range list.Entries {
		entries[e.Seq] = e.EntryID
	}
	for i, e := range a.history(account) {
		got := w.decoded(e.Event)
		w.same("history of "+account, got, want[i])
		if id, _ := got["ledgerEntryId"].(string); id != entries[e.Seq] {
			w.Errorf("event %d of %s names entry %q, the ledger has %q", e.Seq, account, id, entries[e.Seq])
		}
	}
}

// streamIs compares the account's stream entries, field by field. The history has been compared with the views already.
func (w *world) streamIs(stream *consumer, account string, views []object, firsts []bool) {
	w.Helper()
	for i, e := range stream.events[account] {
		data := w.decoded([]byte(e.fields["data"]))
		view := w.decoded([]byte(e.own()))
		want := map[string]string{
			"id": data["eventId"].(string), "type": data["eventType"].(string), "account": account, "seq": strconv.Itoa(i + 1),
			"reason": data["reason"].(string), "data": e.fields["data"], "key": e.fields["key"], "amount": e.fields["amount"],
		}
		if amount, ok := data["amount"].(float64); ok {
			want["amount"] = strconv.Itoa(int(amount))
		}
		if feature, ok := data["featureType"].(string); ok {
			want["feature"] = feature
		}
		if !reflect.DeepEqual(data, view) {
			want["view"] = e.fields["view"]
		}
		if !firsts[i] {
			want["copy"] = "1"
		}
		if !reflect.DeepEqual(e.fields, want) || want["key"] == "" {
			w.Errorf("stream entry %d of %s has\n%v\nwant\n%v", i+1, account, e.fields, want)
		}
		w.same("view in the stream of "+account, view, views[i])
	}
}

// mayExpire holds with an end: the core refunds by itself, and the screen shows it.
func (w *world) mayExpire(g *server, a *api) {
	w.Helper()
	const user = "user:expiry"
	a.do(credit(user, 10))
	c := w.client("expiry", []*server{g}, user)
	a.do(with(hold(user, 10), object{"expiresInSeconds": 1}))
	c.reaches(user, 7)
	last := c.shown[user][len(c.shown[user])-3:]
	for i, kind := range []string{"wallet.escrow_refunded", "wallet.balance_updated", "wallet.balance_updated"} {
		if e := w.decoded(last[i].event); e["eventType"] != kind || e["reason"] != "rope_drop_timeout" {
			w.Errorf("event %d of an expiry: %v", i, e)
		}
	}
	c.agrees(user, a.history(user), a.balance(user))
}
