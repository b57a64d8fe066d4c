package e2e

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/coder/websocket"
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
	ws, _ := w.dialGateway(gateway, w.signToken("app", nil, "events:all"))
	all := &allReader{w: w, ws: ws}
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
	w       *world
	ws      *websocket.Conn
	pending [][]byte
}

func (r *allReader) subscribe() {
	r.w.Helper()
	err := r.ws.Write(r.w.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"all","accounts":["*"]}`))
	if err != nil {
		r.w.Fatal(err)
	}
	for _, op := range []string{"welcome", "subscribed"} {
		got := r.readFrame()
		if got.Op != op {
			r.w.Fatalf("got the frame %+v, want %s", got, op)
		}
	}
}

type allFrame struct {
	Op    string
	Seq   int64
	Chain string
}

func (r *allReader) readFrame() (frame allFrame) {
	r.w.Helper()
	if len(r.pending) == 0 {
		_, message, err := r.ws.Read(r.w.Context())
		if err != nil {
			r.w.Fatal(err)
		}
		r.pending = bytes.Split(message, []byte("\n"))
	}
	err := json.Unmarshal(r.pending[0], &frame)
	if err != nil {
		r.w.Fatalf("decode %s: %v", r.pending[0], err)
	}
	r.pending = r.pending[1:]
	return frame
}

// readChains reads events, which must have the seqs, and returns their chains.
func (r *allReader) readChains(seqs ...int64) (chains []string) {
	r.w.Helper()
	for _, seq := range seqs {
		frame := r.readFrame()
		if frame.Op != "event" || frame.Seq != seq {
			r.w.Fatalf("got the frame %+v, want the event %d", frame, seq)
		}
		chains = append(chains, frame.Chain)
	}
	return chains
}
