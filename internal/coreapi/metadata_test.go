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

// nestMetadata returns a JSON object that nests that many levels deep.
func nestMetadata(levels int) string {
	return strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
}

// Metadata may nest 16 levels deep, because consumers of events in other languages fail on more.
func TestDeepMetadataIsRefused(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		send := func(metadata string) request {
			return request{
				path: "/v1/accounts/user:u1/credits",
				body: `{"amount":1,"reason":"admin_credit","metadata" : ` + metadata + `,"correlationId":"c"}`,
			}
		}
		h.expect(http.StatusCreated, send(nestMetadata(16)))
		h.expect(http.StatusCreated, send(`{"a":"`+strings.Repeat("[", 1000)+`"}`))
		for name, metadata := range map[string]string{
			"17 levels":    nestMetadata(17),
			"1,000 levels": nestMetadata(1000),
			"arrays":       `{"a":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + "}",
			"an array":     strings.Repeat("[", 17) + strings.Repeat("]", 17),
		} {
			h.runCase(name, func(h *harness) {
				a := h.expectInvalid(send(metadata))
				if got := h.firstPointer(a.json); got != "/metadata" {
					h.Errorf("pointer: got %s, want /metadata", got)
				}
			})
		}
		h.checkBalance("user:u1", 2, 0)
	})
}

// In a batch, an operation whose metadata nest too deep is refused by itself.
func TestDeepMetadataInBatchIsRefused(t *testing.T) {
	onEachDatabase(t, func(h *harness) {
		withMetadata := func(key, metadata string) item {
			i := creditItem(key, 1)
			i["metadata"] = json.RawMessage(metadata)
			return i
		}
		results := h.sendBatch("",
			withMetadata("k1", nestMetadata(16)),
			withMetadata("k2", nestMetadata(17)),
			withMetadata("k3", nestMetadata(1000)),
			withMetadata("k4", `{"a":"`+strings.Repeat("m", 9<<10)+`","b":`+nestMetadata(16)+`}`),
			withMetadata("k5", `{"a":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}"),
			withMetadata("k6", "{}"),
		)
		for i, want := range []float64{201, 400, 400, 413, 413, 201} {
			if got := results[i]["status"]; got != want {
				h.Errorf("result %d: got %v, want status %v", i, results[i], want)
			}
		}
		for i, want := range map[int]string{1: "/operations/1/metadata", 2: "/operations/2/metadata"} {
			details, _ := results[i]["problem"].(map[string]any)
			if got := h.firstPointer(details); got != want {
				h.Errorf("pointer of result %d: got %s, want %s", i, got, want)
			}
		}
		h.checkBalance("user:u1", 2, 0)
	})
}
