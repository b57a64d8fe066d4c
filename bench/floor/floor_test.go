//go:build linux

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/bench/feed"
	"github.com/redroomrewards/realtime/bench/loadgen"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func TestClientGetsEachEventOnce(t *testing.T) {
	f := &floor{accounts: map[string]*account{}}
	mux := http.NewServeMux()
	f.Handle(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	begin := time.Now().UnixNano()
	batch := func(from, to int64) (b tail.Batch) {
		for seq := from; seq <= to; seq++ {
			b.Deliveries = append(b.Deliveries, bus.Delivery{
				Account: "user:a",
				Seq:     seq,
				Data:    fmt.Appendf(nil, `{%s%d"}`, feed.Marker, begin+seq),
			})
		}
		return b
	}
	f.Deliver(batch(1, 5))
	plan := loadgen.Plan{
		Clients: []loadgen.Client{{Account: "user:a", After: 3}, {Account: "user:a", After: 3}},
		Missed:  2,
		AtOnce:  1,
	}
	g, err := loadgen.Open(t.Context(), strings.TrimPrefix(server.URL, "http://"), loadgen.Wallet{}, plan)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	f.Deliver(batch(4, 2000)) // repeats 4 and 5, and is larger than the buffer of a socket
	if err := g.Await(t.Context(), 2*1997, 10*time.Second); err != nil {
		t.Error(err)
	}
}
