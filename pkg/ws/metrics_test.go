package ws

import (
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
)

// However many codes clients make up, they are one series.
func TestCodesOfClientsAreOneSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	for _, code := range []websocket.StatusCode{1000, 3000, 4000, 4001, 4401, 4999} {
		_ = g.login("user:u1").ws.Close(code, "")
	}
	for label, want := range map[string]float64{"1000": 1, "4401": 1, "other": 4} {
		eventually(t, "ends with "+label, func() bool { return metric(t, reg, "gateway_closes_total", label) == want })
	}
	if got := metric(t, reg, "gateway_closes_total", "3000"); got != 0 {
		t.Errorf("a client's code has a series of its own, %v", got)
	}
}
