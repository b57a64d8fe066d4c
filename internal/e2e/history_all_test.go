package e2e

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

// TestSubscriptionToAllAccountsAfterTheLedgerWentBack puts an older copy of the ledger in place. A
// subscription to all accounts gets the events that replace the void ones, without a resync.
func TestSubscriptionToAllAccountsAfterTheLedgerWentBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	a.creditTimes(2, "user:all")
	backup := w.backUpLedger(core)
	socket, err := rawclient.Dial(t.Context(), gateway.baseURL(), w.signToken("app", nil, "events:all"), w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	all := &allReader{w: w, socket: socket}
	all.subscribe()

	a.creditTimes(3, "user:all")
	void := all.readChains(3, 4, 5)
	w.restoreLedger(backup)
	a.waitUntilDone(newCredit("user:all", 7))
	a.waitUntilDone(newCredit("user:all", 8))
	chains := all.readChains(3, 4)
	for i, chain := range chains {
		if chain == void[i] {
			t.Errorf("chain at seq %d after the ledger went back: got the void event's %s, want another one", i+3, chain)
		}
	}
	truth := a.readTruth("user:all")
	checkEqual(t, "the newest event", position{4, chains[1]}, truth.newest())
}

// allReader reads the frames of a subscription to all accounts.
type allReader struct {
	w      *world
	socket *rawclient.Socket
}

func (r *allReader) subscribe() {
	r.w.Helper()
	err := r.socket.Send(r.w.Context(), rawclient.Subscribe{Sub: "all", Accounts: []string{"*"}})
	if err != nil {
		r.w.Fatal(err)
	}
	for _, op := range []string{"welcome", "subscribed"} {
		got := r.readFrame()
		if got.Op != op {
			r.w.Fatalf("got the frame %s, want %s", &got, op)
		}
	}
}

func (r *allReader) readFrame() rawclient.Frame {
	r.w.Helper()
	f, err := r.socket.Next(r.w.Context())
	if err != nil {
		r.w.Fatal(err)
	}
	return f
}

// readChains reads events, which must have the seqs, and returns their chains.
func (r *allReader) readChains(seqs ...int64) (chains []string) {
	r.w.Helper()
	for _, seq := range seqs {
		frame := r.readFrame()
		if frame.Op != "event" || frame.Seq != seq {
			r.w.Fatalf("got the frame %s, want the event %d", &frame, seq)
		}
		chains = append(chains, frame.Chain)
	}
	return chains
}
