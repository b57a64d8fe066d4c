package e2e

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

// sseClient resumes a stream of server-sent events as an EventSource does: with the id of the last
// event only.
type sseClient struct {
	w        *world
	token    string
	accounts []string
	lastID   string
	lastSeqs map[string]int64
}

// TestServerSentEventsResumeAtAnotherGateway reads a stream in parts, at two gateways.
func TestServerSentEventsResumeAtAnotherGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	first := w.startGateway(core.baseURL())
	second := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	accounts := []string{"user:u1", "model:m1"}
	c := &sseClient{w: w, token: w.signToken("app", accounts), accounts: accounts, lastSeqs: map[string]int64{}}
	a.creditTimes(1, accounts...)
	w.waitUntilPublished()

	c.readUntilSeq(first, 1) // the snapshot
	a.creditTimes(5, accounts...)
	c.readUntilSeq(first, 6)
	a.creditTimes(5, accounts...)
	first.killProcess()
	c.readUntilSeq(second, 9) // it leaves while the gateway sends more
	a.creditTimes(1, accounts...)
	c.readUntilSeq(second, 12)
	for _, account := range accounts {
		checkEqual(t, "last seq of "+account, c.lastSeqs[account], a.readBalance(account).Seq)
	}
}

// readUntilSeq reads the stream until it has shown that seq of each account, and disconnects.
func (c *sseClient) readUntilSeq(g *server, seq int64) {
	c.w.Helper()
	stream, err := rawclient.OpenEventStream(c.w.Context(), g.baseURL(), c.token, c.lastID, c.w.http)
	if err != nil {
		c.w.Fatal(err)
	}
	defer stream.Close()
	for err == nil && !c.hasSeq(seq) {
		var f rawclient.Frame
		f, err = stream.Next()
		c.lastID = stream.LastID
		c.handleFrame(&f)
	}
	if !c.hasSeq(seq) {
		c.w.Fatalf("the stream ended with %v: got seqs %v, want %d", err, c.lastSeqs, seq)
	}
}

// hasSeq reports whether each account has reached the seq.
func (c *sseClient) hasSeq(seq int64) bool {
	for _, account := range c.accounts {
		if c.lastSeqs[account] < seq {
			return false
		}
	}
	return true
}

func (c *sseClient) handleFrame(f *rawclient.Frame) {
	c.w.Helper()
	switch f.Op {
	case "subscribed":
		for _, a := range f.Accounts {
			last, resumed := c.lastSeqs[a.Account]
			if resumed {
				checkEqual(c.w, a.Account+" is recovered", a.Recovered, true)
				checkEqual(c.w, "seq from which "+a.Account+" resumes", a.Seq, last)
			}
			c.lastSeqs[a.Account] = a.Seq
		}
	case "event":
		checkEqual(c.w, "next seq of "+f.Account, f.Seq, c.lastSeqs[f.Account]+1)
		c.lastSeqs[f.Account] = f.Seq
	case "resync", "error", "closed":
		c.w.Errorf("got the frame %s", f)
	}
}
