package coreapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Who repeats a request with what a listing gave as its metadata repeats it to the byte.
func TestMetadataComesBackAsItWas(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const metadata = "{ \"a\":\"<&>\",\n\t\"b\":\"\u2028\\u003c\\/\", \"c\": 1.50e2, \"hash\":\"x\",\"timestamp\":\"y\" }"
		credit := func(metadata string) answer {
			return h.expect(http.StatusCreated, request{path: "/v1/accounts/user:u1/credits", key: "k",
				body: `{"amount":1,"reason":"admin_credit","correlationId":"<&>\",\"hash\":\"","metadata":` + metadata + `}`})
		}
		id, _ := credit(metadata).json["transactionId"].(string)
		h.credit("user:u1", 1) // without metadata

		var page struct {
			Entries []struct {
				Metadata json.RawMessage `json:"metadata"`
			} `json:"entries"`
			Next string `json:"next"`
		}
		list := func(query string) string {
			raw := h.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/entries" + query}).raw
			if err := json.Unmarshal([]byte(raw), &page); err != nil {
				t.Fatal(err)
			}
			return raw
		}
		if list("?limit=1"); page.Next == "" || page.Entries[0].Metadata != nil {
			t.Errorf("the newest entry: %+v", page)
		}
		raw := list("?before=" + page.Next)
		if got := string(page.Entries[0].Metadata); got != metadata {
			t.Errorf("entries: %s", raw)
		}
		if again := credit(string(page.Entries[0].Metadata)); again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("the repeat: %s", again.raw)
		}
		tx := h.expect(http.StatusOK, request{path: "/v1/transactions/" + id})
		for _, raw := range []string{raw, tx.raw} {
			if !strings.Contains(raw, `"correlationId":"<&>\"`) {
				t.Errorf("escaped for HTML: %s", raw)
			}
		}
		if n := strings.Count(tx.raw, `"metadata":`+metadata); n != 3 { // its own, and those of its entries
			t.Errorf("%d times in the transaction: %s", n, tx.raw)
		}
	})
}
