package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestServerSentEvents resumes a stream at another gateway, with nothing but what an EventSource knows.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateways := []*server{w.gateway(core.url()), w.gateway(core.url())}
	a := w.api(core)
	accounts := []string{"user:u1", "model:m1"}
	token := w.token("app", accounts)
	for _, account := range accounts {
		a.do(credit(account, 1000))
	}
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })

	last, id := map[string]int64{}, ""
	// read shows the stream until both accounts are at seq, and leaves.
	read := func(g *server, seq int64) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url()+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Last-Event-ID", id)
		resp, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		for lines := bufio.NewScanner(resp.Body); min(last[accounts[0]], last[accounts[1]]) < seq && lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "data":
				var f frame
				if err := json.Unmarshal([]byte(value), &f); err != nil {
					t.Fatalf("%s: %v", value, err)
				}
				switch f.Op {
				case "subscribed":
					for _, account := range f.Accounts {
						if seq, resumed := last[account.Account]; resumed && (!account.Recovered || account.Seq != seq) {
							t.Errorf("%s: resumed at %d (%t), want %d", account.Account, account.Seq, account.Recovered, seq)
						}
						last[account.Account] = account.Seq
					}
				case "event":
					if f.Seq != last[f.Account]+1 {
						t.Errorf("%s: event %d after %d", f.Account, f.Seq, last[f.Account])
					}
					last[f.Account] = f.Seq
				case "resync", "error", "closed":
					t.Errorf("%s", value)
				}
			}
		}
		if min(last[accounts[0]], last[accounts[1]]) < seq {
			t.Fatalf("the stream ended at %v, want %d", last, seq)
		}
	}
	earn := func(n int) {
		for range n {
			for _, account := range accounts {
				a.do(credit(account, 10))
			}
		}
	}
	read(gateways[0], 1) // the snapshot
	earn(5)
	read(gateways[0], 6)
	earn(5)
	gateways[0].kill()
	read(gateways[1], 9) // in the middle of what it sends
	earn(1)
	read(gateways[1], 12)
	for _, account := range accounts {
		if b := a.balance(account); b.Seq != last[account] {
			t.Errorf("%s: shown up to %d, the ledger has %d", account, last[account], b.Seq)
		}
	}
}
