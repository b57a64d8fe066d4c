package coreapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/client"
)

// The pages have each item of the accounts' own lists, with the fields of the streams.
func TestAllEventsAreThoseOfTheAccounts(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(h *harness) {
		reader := signToken(h.T, "reader", nil, "events:all")
		empty := h.expect(http.StatusOK, request{path: "/v1/events", token: reader})
		if want := `{"events":[],"next":"0","more":false}` + "\n"; empty.raw != want {
			h.Errorf("empty ledger: got %s, want %s", empty.raw, want)
		}

		h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", body: item{"amount": 100, "reason": "admin_credit"}})
		held := h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/holds", body: item{
			"amount": 40, "reason": "chip_menu_purchase", "queueItemId": "q\"1", "featureType": "chip \"menu\"",
		}})
		h.expect(http.StatusOK, request{path: fmt.Sprint("/v1/escrows/", held.json["escrowId"], "/settle"), body: item{
			"amount": 40, "reason": "performance_completed", "queueItemId": "q\"1", "modelId": "m1",
		}})

		var items []client.StreamEvent
		cursor := ""
		for {
			raw := h.expect(http.StatusOK, request{path: "/v1/events?limit=3&cursor=" + url.QueryEscape(cursor), token: reader}).raw
			var page client.AllEventsPage
			err := json.Unmarshal([]byte(raw), &page)
			if err != nil {
				h.Fatalf("decode %s: %v", raw, err)
			}
			items = append(items, page.Events...)
			cursor = page.Next
			if !page.More {
				break
			}
		}
		if len(items) != 8 {
			h.Fatalf("got %d items, want 8", len(items))
		}
		if items[1].Feature != `chip "menu"` || items[1].Amount != 40 || items[1].Reason != "chip_menu_purchase" {
			h.Errorf("hold: got %+v, want its amount, reason and feature", items[1])
		}
		copies := 0
		seqs := map[string]int64{}
		for _, e := range items {
			if e.Copy {
				copies++
			}
			seqs[e.Account]++
			if e.Seq != seqs[e.Account] {
				h.Errorf("got seq %d of %s, want %d", e.Seq, e.Account, seqs[e.Account])
			}
			view := e.View
			if view == nil {
				view = e.Data
			}
			own := h.expect(http.StatusOK, request{path: fmt.Sprintf("/v1/accounts/%s/events?after=%d&limit=1", e.Account, e.Seq-1)}).raw
			var list struct{ Events []client.LedgerEvent }
			err := json.Unmarshal([]byte(own), &list)
			if err != nil || len(list.Events) != 1 {
				h.Fatalf("own event %s: %v", own, err)
			}
			if got := string(view); got != string(list.Events[0].JSON) || e.Chain != list.Events[0].Chain {
				h.Errorf("event %d of %s: got %s %s, want %s", e.Seq, e.Account, e.Chain, got, own)
			}
		}
		if copies != 1 {
			h.Errorf("got %d copies, want 1", copies)
		}

		settled := h.expect(http.StatusOK, request{path: "/v1/events?types=wallet.escrow_settled,wallet.escrow_held", token: reader})
		if got := len(settled.json["events"].([]any)); got != 3 {
			h.Errorf("two types: got %d items, want 3", got)
		}
		later := h.expect(http.StatusOK, request{path: "/v1/events?from=2100-01-01T00:00:00Z", token: reader})
		if got := len(later.json["events"].([]any)); got != 0 || later.json["more"] != false {
			h.Errorf("from the future: got %s, want no events", later.raw)
		}
	})
}

func TestAllEventsRefuseBadRequests(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(h *harness) {
		reader := signToken(h.T, "reader", nil, "events:all")
		h.expectProblem(http.StatusForbidden, "forbidden", request{path: "/v1/events"})
		h.expectProblem(http.StatusUnauthorized, "unauthorized", request{path: "/v1/events", token: "-"})
		for name, query := range map[string]string{
			"cursor":          "cursor=x",
			"cursor and from": "cursor=0&from=2026-01-01T00:00:00Z",
			"type":            "types=wallet.escrow_hold",
			"limit":           "limit=1001",
			"time":            "from=yesterday",
			"unknown":         "to=2026-01-01T00:00:00Z",
		} {
			h.runCase(name, func(h *harness) {
				h.expectProblem(http.StatusBadRequest, "invalid_request", request{path: "/v1/events?" + query, token: reader})
			})
		}

		h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", body: item{"amount": 100, "reason": "admin_credit"}})
		foreign := "1.0.1." + uuid.Must(uuid.NewV7()).String()
		changed := h.expectProblem(http.StatusConflict, "history_changed", request{path: "/v1/events?cursor=" + foreign, token: reader})
		next, _ := changed.json["next"].(string)
		page := h.expect(http.StatusOK, request{path: "/v1/events?cursor=" + next, token: reader})
		if got := len(page.json["events"].([]any)); got != 1 {
			h.Errorf("after the change: got %d items, want 1", got)
		}
	})
}
