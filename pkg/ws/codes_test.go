package ws

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/docs"
)

// Every code that the server closes with is documented, and no other.
func TestCloseCodesAreDocumented(t *testing.T) {
	var doc struct {
		Channels struct {
			Wallet struct {
				Codes map[string]struct{ Reason string } `json:"x-close-codes"`
			}
		}
	}
	if err := json.Unmarshal(docs.AsyncAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for code := closeCode(1000); code < 5000; code++ {
		if got := doc.Channels.Wallet.Codes[strconv.Itoa(int(code))].Reason; got != code.word() {
			t.Errorf("%d is documented as %q, and is sent with %q", code, got, code.word())
		}
	}
}

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
