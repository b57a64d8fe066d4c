package gateway_test

import (
	"net/http"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func TestBalanceFromRedis(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.signToken("user:u1", "")
	w.get(w.balanceURL("user:u1"), own).expectProblem(t, http.StatusNotFound, "account_not_found")

	w.creditPoints("user:u1", 500, "k1")
	r := w.awaitBalance("user:u1", own, "redis")
	r.expectJSON(t, "availableBalance", 500.0)
	r.expectJSON(t, "seq", 1.0)
	r.expectJSON(t, "currency", "points")
	w.get(w.balanceURL("user:u1"), w.signToken("all", auth.ScopeEvents)).expectStatus(t, http.StatusOK)

	t.Run("older than an event after a marker", func(t *testing.T) {
		void := bus.Delivery{Account: "user:u1", Seq: 2, Chain: 2, Data: []byte("{}")}
		marker := bus.Delivery{Account: "user:u1", Seq: 1, Chain: 1, Type: bus.TypeHistoryChanged, Data: []byte("{}")}
		event := bus.Delivery{Account: "user:u1", Seq: 2, Chain: 3, Data: []byte("{}")}
		w.running.DeliverBatch(tail.Batch{Deliveries: []bus.Delivery{void, marker, event}})
		w.get(w.balanceURL("user:u1"), own).expectHeader(t, "X-Balance-Source", "core")
	})
}

func TestBalanceRefusals(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.signToken("user:u1", "")
	all := w.signToken("all", auth.ScopeEvents)
	for name, tc := range map[string]struct {
		account string
		token   string
		status  int
		code    string
	}{
		"no token":                        {"user:u1", "", http.StatusUnauthorized, "unauthorized"},
		"invalid token":                   {"user:u1", "x.y.z", http.StatusUnauthorized, "unauthorized"},
		"token for another account":       {"user:u2", own, http.StatusForbidden, "forbidden"},
		"scope of the core":               {"user:u1", w.signToken("shop", auth.ScopeRead), http.StatusForbidden, "forbidden"},
		"invalid account, events:all":     {"nonsense", all, http.StatusBadRequest, "invalid_request"},
		"invalid account, own token":      {"nonsense", own, http.StatusBadRequest, "invalid_request"},
		"account that does not exist yet": {"user:nobody", all, http.StatusNotFound, "account_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			w.get(w.balanceURL(tc.account), tc.token).expectProblem(t, tc.status, tc.code)
		})
	}
	for _, query := range []string{"asOf=2020-01-01T00:00:00Z", "x", "asOf=", "%zz"} {
		t.Run("query "+query, func(t *testing.T) {
			w.get(w.balanceURL("user:u1")+"?"+query, own).expectProblem(t, http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("POST", func(t *testing.T) {
		r := w.request(http.MethodPost, w.balanceURL("user:u1"), own, "")
		r.expectStatus(t, http.StatusMethodNotAllowed)
		r.expectHeader(t, "Allow", http.MethodGet)
	})
	t.Run("unknown path", func(t *testing.T) {
		w.get(w.url+"/", own).expectProblem(t, http.StatusNotFound, "not_found")
	})
}

// A balance that Redis lacks comes from the core. If neither has it, the answer is 503 and not zero.
func TestBalanceFromCore(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.signToken("model:m1", "")
	w.creditPoints("model:m1", 7, "k1")
	w.awaitBalance("model:m1", own, "redis")
	w.stop()
	err := w.rdb.Del(t.Context(), w.keys.BalanceHash("model:m1")).Err()
	if err != nil {
		t.Fatal(err)
	}
	w.startGateway(gateway.Config{}) // with an empty cache
	for range 2 {                    // the core's answer is not cached
		r := w.get(w.balanceURL("model:m1"), own)
		r.expectStatus(t, http.StatusOK)
		r.expectHeader(t, "X-Balance-Source", "core")
		r.expectJSON(t, "earnedBalance", 7.0)
	}
	w.core.Close()
	w.get(w.balanceURL("model:m2"), w.signToken("model:m2", "")).expectRetryable(t, "unavailable")
}

func TestCrossOriginRequests(t *testing.T) {
	w := newWorld(t, gateway.Config{AllowedOrigins: []string{"https://*.example"}})
	for name, tc := range map[string]struct{ origin, want string }{
		"allowed":     {"https://app.example", "https://app.example"},
		"not allowed": {"https://evil.test", ""},
		"null":        {"null", ""},
		"own host":    {w.url, w.url},
	} {
		t.Run(name, func(t *testing.T) {
			preflight := w.request(http.MethodOptions, w.balanceURL("user:u1"), "", "",
				"Origin", tc.origin,
				"Access-Control-Request-Method", "GET",
				"Access-Control-Request-Headers", "authorization",
			)
			preflight.expectStatus(t, http.StatusNoContent)
			preflight.expectHeader(t, "Access-Control-Allow-Origin", tc.want)
			r := w.get(w.balanceURL("user:u1"), "", "Origin", tc.origin)
			r.expectHeader(t, "Access-Control-Allow-Origin", tc.want)
			r.expectHeader(t, "Vary", "Origin")
		})
	}
}
