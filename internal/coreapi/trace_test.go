package coreapi_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

const traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// Published events have the trace context of their request if it is valid.
func TestTraceParentGoesWithEvents(t *testing.T) {
	var committed []bus.OutboxRow // written before the answer to each request
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{
		Logger: slog.New(slog.DiscardHandler), Committed: func(rows []bus.OutboxRow) { committed = append(committed, rows...) },
	})
	h := serveAPI(t, l, l)
	notSampled := strings.TrimSuffix(traceParent, "1") + "0"
	const credit = `{"amount":10,"reason":"admin_credit"}`
	for name, c := range map[string]struct{ given, want string }{
		"sampled":           {traceParent, traceParent},
		"not_sampled":       {notSampled, notSampled},
		"none":              {"", ""},
		"no_trace_context":  {"order-1", ""},
		"zero_trace":        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", ""},
		"upper_case":        {strings.ToUpper(traceParent), ""},
		"forbidden_version": {"ff" + traceParent[2:], ""},
	} {
		for _, r := range []request{
			{path: "/v1/accounts/user:u1/credits", body: credit, key: name},
			{path: "/v1/batch", body: item{"operations": []item{holdItem(name, 1)}}},
		} {
			h.runCase(name+r.path, func(h *harness) {
				committed = nil
				if c.given != "" {
					r.header = map[string]string{"Traceparent": c.given}
				}
				a := h.send(r)
				if a.status >= 300 {
					h.Fatalf("got %d %s, want success", a.status, a.raw)
				}
				for _, d := range committed[0].Updates[0].Deliveries {
					if d.TraceParent != c.want {
						h.Errorf("%s: got trace context %q, want %q", d.Type, d.TraceParent, c.want)
					}
				}
			})
		}
	}
}
