package wallet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestEventsHaveNoLineBreaks credits points with metadata that has line breaks. A client may get
// several events in one message, one on each line, so an event must be a single line.
func TestEventsHaveNoLineBreaks(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		op := newCredit("user:u1", 1000, "c1")
		op.Metadata = json.RawMessage("{\r\n\t\"a\" : [1.0,\n\"b \\n <\"]\r}")
		mustDo(t, l, op)
		const suffix = `,"metadata":{"a":[1.0,"b \n <"]}}`

		events, _, err := l.Events(t.Context(), "user:u1", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 1 {
			t.Fatalf("events: got %d, want 1", len(events))
		}
		if got := string(events[0].Event); !strings.HasSuffix(got, suffix) {
			t.Errorf("event: got %s, want the suffix %s", got, suffix)
		}

		pending, err := l.Pending(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(pending) != 1 {
			t.Fatalf("transactions in the outbox: got %d, want 1", len(pending))
		}
		if got := string(pending[0].Updates[0].Deliveries[0].Data); !strings.HasSuffix(got, suffix) {
			t.Errorf("event in the outbox: got %s, want the suffix %s", got, suffix)
		}

		// The ledger stores and hashes the metadata as they were given.
		checkEqual(t, "retry is replayed", mustDo(t, l, op).Replayed, true)
		checkLedger(t, l)
	})
}
