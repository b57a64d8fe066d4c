package coreapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Metadata in a listing has the same bytes as in the request, so that a client can repeat a request
// with it.
func TestMetadataKeepsItsBytes(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		const metadata = "{ \"a\":\"<&>\",\n\t\"b\":\"\u2028\\u003c\\/\", \"c\": 1.50e2, \"hash\":\"x\",\"timestamp\":\"y\" }"
		credit := func(metadata string) answer {
			return h.expect(http.StatusCreated, request{
				path: "/v1/accounts/user:u1/credits",
				key:  "k",
				body: `{"amount":1,"reason":"admin_credit","correlationId":"<&>\",\"hash\":\"","metadata":` + metadata + `}`,
			})
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
				h.Fatal(err)
			}
			return raw
		}

		list("?limit=1")
		if page.Next == "" {
			h.Fatal("the first page has no next page")
		}
		if got := page.Entries[0].Metadata; got != nil {
			h.Errorf("newest entry: got metadata %s, want none", got)
		}

		raw := list("?before=" + page.Next)
		if got := string(page.Entries[0].Metadata); got != metadata {
			h.Errorf("oldest entry: got metadata %s, want %s", got, metadata)
		}
		retry := credit(string(page.Entries[0].Metadata))
		if got := retry.header.Get("Idempotent-Replayed"); got != "true" {
			h.Errorf("retry: got Idempotent-Replayed %q, want true: %s", got, retry.raw)
		}

		transaction := h.expect(http.StatusOK, request{path: "/v1/transactions/" + id}).raw
		for _, text := range []string{raw, transaction} {
			if !strings.Contains(text, `"correlationId":"<&>\"`) {
				h.Errorf("got text that is escaped for HTML: %s", text)
			}
		}
		got := strings.Count(transaction, `"metadata":`+metadata)
		if got != 3 { // the transaction and its 2 entries
			h.Errorf("got the metadata %d times in the transaction, want 3: %s", got, transaction)
		}
	})
}
