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

// fuzzedCall is a call with that body.
func fuzzedCall(t *testing.T, body []byte) *call {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return &call{r: r, buffer: new(buffers).getBuffer()}
}

// A batch is read or refused with pointers; it never has more operations than are allowed.
func FuzzBatchBody(f *testing.F) {
	for _, s := range []string{
		`{"operations":[{"operation":"hold","idempotencyKey":"k","account":"user:u1","amount":1,"reason":"x","queueItemId":"q","featureType":"f","expiresInSeconds":5}]}`,
		`{"operations":[null,{},7]}`, `{"operations":{}}`, `{"operations":null}`, `{"operations":[`, `{"operations":[]]`, `{"operations":[{"amoun":1}]}`, `{}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body batchBody
		if err := fuzzedCall(t, raw).decodeBody(&body); err != nil {
			var invalid *wallet.InvalidError
			if !errors.As(err, &invalid) && !errors.Is(err, wallet.ErrTooLarge) || DescribeError(err) == nil {
				t.Fatalf("%q: an error that no client could be told: %v", raw, err)
			}
			return
		}
		var lenient struct{ Operations []json.RawMessage }
		if err := json.Unmarshal(raw, &lenient); err != nil || len(lenient.Operations) != len(body.Operations) || len(body.Operations) > maxOperations {
			t.Fatalf("%q is read as %d operations: %d, %v", raw, len(body.Operations), len(lenient.Operations), err)
		}
		c := call{claims: &auth.Claims{Scopes: []string{auth.ScopeHold}}}
		for i := range body.Operations {
			var op wallet.Op
			_ = c.prepareItem(&body.Operations[i], &op) // must not panic
			_ = op.Validate()
		}
	})
}

// A body is taken as it was meant or refused with pointers: whatever is decoded
// means the same to a lenient decoder, and a number never came from a fraction.
func FuzzHoldBody(f *testing.F) {
	for _, s := range []string{
		`{"amount":100,"reason":"x","queueItemId":"q","featureType":"f","expiresInSeconds":5,"metadata":{"a":[1]},"correlationId":"c"}`,
		`{"amount":1e3}`, `{"amount":1.0}`, `{"amount":"1"}`, `{"Amount":1}`, `{"amount":1,"amount":2}`, `{"x":1}`, `[]`, `null`, ``, `{`, "{\"reason\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body holdBody
		if err := fuzzedCall(t, raw).decodeBody(&body); err != nil {
			var invalid *wallet.InvalidError
			if !errors.As(err, &invalid) && !errors.Is(err, wallet.ErrTooLarge) || DescribeError(err) == nil {
				t.Fatalf("%q: an error that no client could be told: %v", raw, err)
			}
			return
		}
		var lenient struct {
			Amount      json.Number
			Reason      string
			QueueItemID string
		}
		if err := json.Unmarshal(raw, &lenient); err != nil {
			t.Fatalf("%q is taken and is no JSON: %v", raw, err)
		}
		if n, err := lenient.Amount.Int64(); lenient.Amount != "" && (err != nil || n != body.Amount) {
			t.Fatalf("%q: amount %d from %q", raw, body.Amount, lenient.Amount)
		}
		if lenient.Reason != body.Reason || lenient.QueueItemID != body.QueueItemID {
			t.Fatalf("%q: strings differ: %+v", raw, body)
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

// A query string is read as it was meant or refused with the parameter's name: no number, time or
// reason comes out of one that is none.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"", "limit=1&before=9&reason=admin_credit&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00%2B01:00", "limit=1e3", "limit=+1", "limit=0x1", "after=-1",
		"limit=1&limit=2", "Limit=1", "asOf=2026-11-23", "%zz", "a;b=c", "limit=%31", "/=1&~=2", "reason=%0a", "asOf=0000-01-01T00:00:00Z", "after=9007199254740992",
	} {
		f.Add(s)
	}
	known := []string{"after", "asOf", "before", "from", "limit", "reason", "to"}
	f.Fuzz(func(t *testing.T, raw string) {
		c := call{r: &http.Request{URL: &url.URL{RawQuery: raw}}}
		q, err := c.readQuery(known...)
		if err == nil {
			limit, after, reason := q.limitValue(), q.numberValue("after", 0, wallet.MaxAmount, 0), q.reasonValue()
			times := []time.Time{q.timeValue("asOf"), q.timeValue("from"), q.timeValue("to")}
			if err = q.err; err == nil {
				if limit < 1 || limit > maxLimit || after < 0 || after > wallet.MaxAmount || reason != "" && !reasonRegexp.MatchString(reason) {
					t.Fatalf("%q: limit %d, after %d, reason %q", raw, limit, after, reason)
				}
				for _, at := range times {
					if !at.IsZero() && at.Before(time.Unix(0, 0)) {
						t.Fatalf("%q: the ledger has no time %v", raw, at)
					}
				}
				return
			}
		}
		var invalid *wallet.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Fields) != 1 || invalid.Fields[0].Pointer != "" && invalid.Fields[0].Pointer[0] != '/' {
			t.Fatalf("%q: an error that no client could be told: %v", raw, err)
		}
	})
}
