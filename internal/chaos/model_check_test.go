package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/rawclient"
	"github.com/redroomrewards/realtime/pkg/client"
)

// modelBench is a ledger of one user with three operations, and what its clients know about it. Each test
// falsifies one thing, which the checks must find.
type modelBench struct {
	load      *load
	history   *history
	viewer    *viewer
	credit    *call
	hold      *call
	refused   *call
	violation string // all of them
}

const benchUser = "user:u"

func newBench(t *testing.T) *modelBench {
	t.Helper()
	b := &modelBench{}
	j := &journal{start: time.Now()}
	j.report = func(text string) {
		b.violation += text
	}
	b.load = &load{w: &world{T: t, journal: j}, seen: newSeenBalances()}
	b.history = &history{account: benchUser, chains: []string{noChain}, balances: [][3]int64{{}}, events: []event{{}}}
	b.add(t, "c1", `{"eventType":"wallet.balance_updated","transactionId":"t1","correlationId":"k1","balanceState":"available","balanceBefore":0,"balanceAfter":50,"changeAmount":50}`)
	b.add(t, "c2", `{"eventType":"wallet.escrow_held","transactionId":"t2","correlationId":"k2","escrowId":"e1","amount":20}`)
	b.add(t, "c3", `{"eventType":"wallet.balance_updated","transactionId":"t2","correlationId":"k2","balanceState":"available","balanceBefore":50,"balanceAfter":30,"changeAmount":-20}`)
	b.add(t, "c4", `{"eventType":"wallet.balance_updated","transactionId":"t2","correlationId":"k2","balanceState":"escrow","balanceBefore":0,"balanceAfter":20,"changeAmount":20}`)
	b.credit = &call{operation: client.OperationCredit, key: "k1", account: benchUser, amount: 50, done: true, began: 1, ended: 2}
	b.credit.receipt = client.Receipt{TransactionID: "t1", Balances: []client.Balance{{Account: benchUser, Available: 50, Seq: 1, Chain: "c1"}}}
	b.hold = &call{operation: client.OperationHold, key: "k2", account: benchUser, amount: 20, done: true, began: 3, ended: 4}
	b.hold.receipt = client.Receipt{TransactionID: "t2", EscrowID: "e1", Balances: []client.Balance{{Account: benchUser, Available: 30, Escrow: 20, Seq: 4, Chain: "c4"}}}
	b.refused = &call{operation: client.OperationDebit, key: "k3", account: benchUser, amount: 99, code: "insufficient_funds", began: 5, ended: 6}
	b.load.users = []string{benchUser}
	b.load.calls = []*call{b.credit, b.hold, b.refused}
	b.viewer = &viewer{w: b.load.w, load: b.load, name: "viewer", accounts: []string{benchUser}, states: map[string]*viewerState{}, gateway: &program{}}
	b.show(`{"op":"subscribed","sub":"wallet","accounts":[{"account":"user:u","seq":1,"chain":"c1","snapshot":{"account":"user:u","accountType":"user","availableBalance":50,"escrowBalance":0,"seq":1,"chain":"c1"}}]}`)
	return b
}

func (b *modelBench) add(t *testing.T, chain, raw string) {
	t.Helper()
	err := b.history.add(chain, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
}

// check runs the checks that need no servers.
func (b *modelBench) check() {
	histories := map[string]*history{benchUser: b.history}
	found := b.load.checkCalls(histories, isProbeKey)
	b.load.checkReads(histories)
	b.viewer.checkShown(histories)
	(&episode{w: b.load.w, load: b.load, report: newReport(b.load.w.T, "")}).checkLinearizable(histories, found)
}

func (b *modelBench) show(frames ...string) {
	for _, frame := range frames {
		f, err := rawclient.ParseFrame([]byte(frame))
		if err != nil {
			b.load.w.Fatal(err)
		}
		b.viewer.handleFrame(&f)
	}
}

func TestChecksAcceptWhatIsRight(t *testing.T) {
	b := newBench(t)
	b.show(
		`{"op":"event","sub":"wallet","account":"user:u","seq":2,"chain":"c2","event":{"eventType":"wallet.escrow_held"}}`,
		`{"op":"resync","sub":"wallet","account":"user:u","seq":4,"chain":"c4","reason":"history_unavailable","snapshot":{"account":"user:u","accountType":"user","availableBalance":30,"escrowBalance":20,"seq":4,"chain":"c4"}}`,
	)
	b.load.reads = []*read{{account: benchUser, began: 2, ended: 3, balance: b.credit.receipt.Balances[0]}}
	b.check()
	if b.violation != "" {
		t.Errorf("got %s", b.violation)
	}
}

// Each falsification must be found, with these words.
func TestChecksFindWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name    string
		falsify func(b *modelBench)
		want    string
	}{
		{"a lost success", func(b *modelBench) { b.load.calls = append(b.load.calls, doneCall("k9", "t9")) }, "LOST"},
		{"a transaction that nobody asked for", func(b *modelBench) { b.load.calls = b.load.calls[1:] }, "which nobody sent"},
		{"an operation that was done twice", func(b *modelBench) {
			b.history.events[1].TransactionID = "t0"
			b.history.events[1].CorrelationID = "k2"
		}, "two transactions"},
		{"another transaction", func(b *modelBench) { b.credit.receipt.TransactionID = "t0" }, "the ledger has the transaction t1"},
		{"a refusal that was done", func(b *modelBench) { b.credit.done = false; b.credit.code = "insufficient_funds" }, "for a refused operation"},
		{"another amount", func(b *modelBench) { b.credit.amount = 51 }, "want 51"},
		{"a receipt with another chain", func(b *modelBench) { b.credit.receipt.Balances[0].Chain = "c9" }, "which the ledger never had"},
		{"a receipt of another seq", func(b *modelBench) { b.hold.receipt.Balances[0] = b.credit.receipt.Balances[0] }, "but the events are"},
		{"a refusal without a reason", func(b *modelBench) { b.refused.code = "escrow_not_found" }, "want one of"},
		{"a refusal of what was possible", func(b *modelBench) { b.refused.amount = 10 }, "not linearizable"},
		{"a balance that never was", func(b *modelBench) {
			b.load.gatewayReads = []*read{{account: benchUser, balance: client.Balance{Seq: 1, Chain: "c1", Available: 7}}}
		}, "which the ledger never had"},
		{"a balance that was over", func(b *modelBench) {
			b.load.reads = []*read{{account: benchUser, began: 5, ended: 6, balance: b.credit.receipt.Balances[0]}}
		}, "not linearizable"},
		{"an event that was left out", func(b *modelBench) { b.show(`{"op":"event","account":"user:u","seq":3,"chain":"c3","event":{}}`) }, "got event 3"},
		{"an event that came again", func(b *modelBench) { b.show(`{"op":"event","account":"user:u","seq":1,"chain":"c1","event":{}}`) }, "got event 1"},
		{"an event of another history", func(b *modelBench) { b.show(`{"op":"event","account":"user:u","seq":2,"chain":"c9","event":{}}`) }, "was shown"},
		{"a resync that goes back", func(b *modelBench) {
			b.show(`{"op":"resync","account":"user:u","seq":0,"chain":"0000000000000000","reason":"history_unavailable","snapshot":{"account":"user:u","accountType":"user","availableBalance":0,"escrowBalance":0,"chain":"0000000000000000"}}`)
		}, "back to seq 0"},
		{"a change of the history", func(b *modelBench) {
			b.show(`{"op":"resync","account":"user:u","seq":1,"chain":"c1","reason":"history_changed","snapshot":{"account":"user:u","accountType":"user","availableBalance":50,"escrowBalance":0,"seq":1,"chain":"c1"}}`)
		}, "has lost nothing"},
		{"a wrong snapshot", func(b *modelBench) {
			b.show(`{"op":"resync","account":"user:u","seq":4,"chain":"c4","reason":"history_unavailable","snapshot":{"account":"user:u","accountType":"user","availableBalance":31,"escrowBalance":20,"seq":4,"chain":"c4"}}`)
		}, "was shown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.falsify(b)
			b.check()
			if !strings.Contains(b.violation, tt.want) {
				t.Errorf("got the violation %q, want one with %q", b.violation, tt.want)
			}
		})
	}
}

func doneCall(key, transaction string) *call {
	return &call{operation: client.OperationCredit, key: key, account: benchUser, amount: 1, done: true, receipt: client.Receipt{TransactionID: transaction}}
}

// An escrow is closed once, and two holds of the last points cannot both succeed.
func TestModelRefusesImpossibleOrders(t *testing.T) {
	hold := &step{opens: "e1", changes: [3]int64{-10, 10, 0}, events: 3, seq: 3, balances: [3]int64{0, 10, 0}}
	refund := &step{closes: "e1", changes: [3]int64{10, -10, 0}, events: 3, seq: 6, balances: [3]int64{10, 0, 0}}
	start := accountState{balances: [3]int64{10, 0, 0}}
	ok, held := hold.apply(start)
	if !ok {
		t.Fatal("a hold of all points was not possible")
	}
	if ok, _ := hold.apply(held); ok {
		t.Error("the same points were held twice")
	}
	if ok, _ := refund.apply(start); ok {
		t.Error("an unknown escrow was refunded")
	}
	ok, refunded := refund.apply(held)
	if !ok || refunded.open != "" {
		t.Errorf("refund: got %t and %+v, want no open escrow", ok, refunded)
	}
	if ok, _ := (&step{refusal: "escrow_already_processed", closes: "e1"}).apply(held); ok {
		t.Error("an open escrow was refused as processed")
	}
}
