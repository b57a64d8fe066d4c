package coreapi_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// sendMany sends n requests, one after the other, with a large header each.
func (h *harness) sendMany(n, wantStatus int, newRequest func(i int) request) {
	h.Helper()
	for i := range n {
		r := newRequest(i)
		r.header["X-Large"] = strings.Repeat("x", 15<<10)
		a := h.send(r)
		if a.status != wantStatus {
			h.Fatalf("%s: got %d %s, want %d", r.path, a.status, a.raw, wantStatus)
		}
	}
}

// What the ledger and the caches keep of a request does not keep the request's header in memory.
func TestHeadersAreNotKept(t *testing.T) {
	var queued [][]bus.OutboxRow // like the relay's queue while Redis is slow
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{
		Committed: func(rows []bus.OutboxRow) { queued = append(queued, rows) }, // SQLite has one writer
	})
	h := serveAPI(t, l, l)
	h.credit("user:u1", 1_000_000)

	const (
		requests = 300
		large    = 15 << 10
	)
	traceParent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, kind := range []struct {
		name       string
		status     int
		newRequest func(i int) request
	}{
		{"holds", http.StatusCreated, func(i int) request {
			return request{
				path:   "/v1/accounts/user:u1/holds",
				key:    fmt.Sprint("hold-", i),
				body:   holdBody(1),
				header: map[string]string{"X-Request-Id": fmt.Sprint("request-", i), "Traceparent": traceParent},
			}
		}},
		{"new accounts", http.StatusCreated, func(i int) request {
			return request{
				path:   fmt.Sprintf("/v1/accounts/user:new%d/credits", i),
				body:   map[string]any{"amount": 1, "reason": "admin_credit"},
				header: map[string]string{},
			}
		}},
		{"tokens", http.StatusOK, func(i int) request {
			return request{
				path:   "/v1/accounts/user:u1/balance",
				token:  signToken(t, fmt.Sprint("service-", i), nil, "wallet:read"),
				header: map[string]string{},
			}
		}},
		{"settlements", http.StatusNotFound, func(i int) request {
			return request{
				path:   "/v1/escrows/0190a5a0-0000-7000-8000-000000000000/settle",
				key:    fmt.Sprint("settle-", i),
				body:   settleBody(1),
				header: map[string]string{},
			}
		}},
	} {
		h.runCase(kind.name, func(h *harness) {
			before := heapBytes()
			h.sendMany(requests, kind.status, kind.newRequest)
			growth := int64(heapBytes()) - int64(before)
			runtime.KeepAlive(queued)
			h.Logf("%d bytes for each request", growth/requests)
			if growth > requests*large/3 {
				h.Errorf("got a growth of %d bytes for each request, want much less than the header's %d",
					growth/requests, large)
			}
		})
	}
}

// Connections that are idle after a refused request keep neither its header nor its body.
func TestIdleConnectionsKeepNoBuffers(t *testing.T) {
	s := startSlowServer(t)
	const (
		connections = 200
		size        = 30 << 10
	)
	before := heapBytes()
	for i := range connections {
		conn := s.dial()
		body := strings.Repeat("x", size)
		_, err := fmt.Fprintf(conn, "POST /v1/batch HTTP/1.1\r\nHost: core\r\nX-Large: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			body[:size/2], s.token, len(body), body)
		if err != nil {
			t.Fatal(err)
		}
		complete, status := readAnswer(conn)
		if !complete || status != http.StatusBadRequest {
			t.Fatalf("connection %d: got status %d, complete %v, want a complete 400", i, status, complete)
		}
	}
	growth := int64(heapBytes()) - int64(before)
	t.Logf("%d bytes for each connection", growth/connections)
	if growth > connections*size/2 {
		t.Errorf("got a growth of %d bytes for each connection, want much less than the request's %d",
			growth/connections, size)
	}
}
