package coreapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// A body is taken as it was meant or refused with pointers: whatever is decoded
// means the same to a lenient decoder, and a number never came from a fraction.
func FuzzHoldBody(f *testing.F) {
	for _, s := range []string{
		`{"amount":100,"reason":"x","queueItemId":"q","featureType":"f","expiresInSeconds":5,"metadata":{"a":[1]},"correlationId":"c"}`,
		`{"amount":1e3}`, `{"amount":1.0}`, `{"amount":"1"}`, `{"Amount":1}`, `{"amount":1,"amount":2}`, `{"x":1}`, `[]`, `null`, ``, `{`, "{\"reason\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	var b bodies
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		var body holdBody
		if err := b.decode(r, &body); err != nil {
			var invalid *wallet.InvalidError
			if !errors.As(err, &invalid) && !errors.Is(err, wallet.ErrTooLarge) || describe(err) == nil {
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
		var op wallet.Op
		body.fill(&op)
		_ = op.Check() // must not panic
	})
}
