package coreapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// newCall returns a call with the body.
func newCall(t *testing.T, body []byte) *call {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	api := new(API)
	api.transfers = newTransfers(defaultMaxTransfers, newMetrics(nil))
	return &call{
		api:    api,
		r:      r,
		claims: new(auth.Claims),
		buffer: api.buffers.getBuffer(0),
	}
}

// checkRefusal requires that a body was refused with an error for the client.
func checkRefusal(t *testing.T, raw []byte, err error) {
	t.Helper()
	var invalid *wallet.InvalidError
	if !errors.As(err, &invalid) && !errors.Is(err, wallet.ErrTooLarge) {
		t.Fatalf("%q: got error %v, want ErrInvalid or ErrTooLarge", raw, err)
	}
	if DescribeError(err) == nil {
		t.Fatalf("%q: got error %v, want one in the error table", raw, err)
	}
}

// A body of a batch is decoded or refused with pointers. It never has too many operations.
func FuzzBatchBody(f *testing.F) {
	for _, s := range []string{
		`{"operations":[{"operation":"hold","idempotencyKey":"k","account":"user:u1","amount":1,"reason":"x","queueItemId":"q","featureType":"f","expiresInSeconds":5}]}`,
		`{"operations":[null,{},7]}`, `{"operations":{}}`, `{"operations":null}`, `{"operations":[`, `{"operations":[]]`, `{"operations":[{"amoun":1}]}`, `{}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body decodedBatch
		err := newCall(t, raw).decodeBody(&body)
		if err != nil {
			checkRefusal(t, raw, err)
			return
		}

		if len(body.Operations) > maxOperations {
			t.Fatalf("%q: got %d operations, want at most %d", raw, len(body.Operations), maxOperations)
		}
		var lenient struct{ Operations []json.RawMessage }
		err = json.Unmarshal(raw, &lenient)
		if err != nil {
			t.Fatalf("%q: got a decoded body, want an error: %v", raw, err)
		}
		if len(body.Operations) != len(lenient.Operations) {
			t.Fatalf("%q: got %d operations, want %d", raw, len(body.Operations), len(lenient.Operations))
		}

		c := call{claims: &auth.Claims{Scopes: []string{auth.ScopeHold}}}
		for i := range body.Operations {
			var op wallet.Op
			_ = c.prepareItem(&body.Operations[i], &op) // must not panic
			_ = op.Validate()
		}
	})
}

// A body of a hold is decoded or refused with pointers. A lenient decoder reads the same values from
// a decoded body, and its amount is never a fraction.
func FuzzHoldBody(f *testing.F) {
	for _, s := range []string{
		`{"amount":100,"reason":"x","queueItemId":"q","featureType":"f","expiresInSeconds":5,"metadata":{"a":[1]},"correlationId":"c"}`,
		`{"amount":1e3}`, `{"amount":1.0}`, `{"amount":"1"}`, `{"Amount":1}`, `{"amount":1,"amount":2}`, `{"x":1}`, `[]`, `null`, ``, `{`, "{\"reason\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body holdBody
		err := newCall(t, raw).decodeBody(&body)
		if err != nil {
			checkRefusal(t, raw, err)
			return
		}

		var lenient struct {
			Amount      json.Number
			Reason      string
			QueueItemID string
		}
		err = json.Unmarshal(raw, &lenient)
		if err != nil {
			t.Fatalf("%q: got a decoded body, want an error: %v", raw, err)
		}
		if lenient.Amount != "" {
			want, err := lenient.Amount.Int64()
			if err != nil || body.Amount != want {
				t.Fatalf("%q: got amount %d, want %q", raw, body.Amount, lenient.Amount)
			}
		}
		if body.Reason != lenient.Reason {
			t.Fatalf("%q: got reason %q, want %q", raw, body.Reason, lenient.Reason)
		}
		if body.QueueItemID != lenient.QueueItemID {
			t.Fatalf("%q: got queue item %q, want %q", raw, body.QueueItemID, lenient.QueueItemID)
		}

		op := wallet.Op{
			Operation: wallet.OpHold,
			Amount:    body.Amount,
			ExpiresIn: holdDuration(body.ExpiresInSeconds),
			Metadata:  body.Metadata.rawJSON(),
		}
		_ = op.Validate() // must not panic
	})
}

// A query string is decoded or refused with the name of the parameter. Decoded values are within
// their limits.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"", "limit=1&before=9&reason=admin_credit&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00%2B01:00", "limit=1e3", "limit=+1", "limit=0x1", "after=-1",
		"limit=1&limit=2", "Limit=1", "asOf=2026-11-23", "%zz", "a;b=c", "limit=%31", "/=1&~=2", "reason=%0a", "asOf=0000-01-01T00:00:00Z", "after=9007199254740992",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		err := checkQuery(t, raw)
		if err == nil {
			return
		}
		var invalid *wallet.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Fields) != 1 {
			t.Fatalf("%q: got error %v, want ErrInvalid with one field", raw, err)
		}
		pointer := invalid.Fields[0].Pointer
		if pointer != "" && pointer[0] != '/' {
			t.Fatalf("%q: got pointer %q, want a JSON pointer", raw, pointer)
		}
	})
}

// checkQuery decodes all parameters of a query string and checks their limits. It returns the error
// of the decoding.
func checkQuery(t *testing.T, raw string) error {
	t.Helper()
	c := call{r: &http.Request{URL: &url.URL{RawQuery: raw}}}
	q, err := c.readQuery("after", "asOf", "before", "from", "limit", "reason", "to")
	if err != nil {
		return err
	}
	limit := q.limitValue()
	after := q.numberValue("after", 0, wallet.MaxAmount, 0)
	reason := q.reasonValue()
	times := []time.Time{q.timeValue("asOf"), q.timeValue("from"), q.timeValue("to")}
	if q.err != nil {
		return q.err
	}

	if limit < 1 || limit > maxLimit {
		t.Fatalf("%q: got limit %d, want 1 to %d", raw, limit, maxLimit)
	}
	if after < 0 || after > wallet.MaxAmount {
		t.Fatalf("%q: got after %d, want 0 to %d", raw, after, wallet.MaxAmount)
	}
	if reason != "" && !reasonRegexp.MatchString(reason) {
		t.Fatalf("%q: got reason %q, want a match of %s", raw, reason, reasonPattern)
	}
	for _, at := range times {
		if !at.IsZero() && at.Before(time.Unix(0, 0)) {
			t.Fatalf("%q: got time %v, want one after 1970", raw, at)
		}
	}
	return nil
}
