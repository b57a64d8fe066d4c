package contract_test

import (
	"encoding/json"
	"testing"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/contract"
)

func TestCheckClientFrame(t *testing.T) {
	for _, test := range []struct {
		frame string
		valid bool
	}{
		{`{"op":"ping"}`, true},
		{`{"op":"subscribe","sub":"s","accounts":["user:u1"],"after":{"user:u1":41}}`, true},
		{`{"op":"subscribe","sub":"s","accounts":null}`, false},
		{`{"op":"subscribe","sub":"s","minAmuont":5}`, false},
		{`{"op":"subscribe"}`, false},
		{`{"op":"pong"}`, false},
		{`"ping"`, false},
	} {
		err := contract.CheckClientFrame(parse(t, test.frame))
		if (err == nil) != test.valid {
			t.Errorf("%s: got %v, want valid: %t", test.frame, err, test.valid)
		}
	}
}

func TestCheckServerFrame(t *testing.T) {
	for _, test := range []struct {
		frame string
		valid bool
	}{
		{`{"op":"pong","later":"more"}`, true},
		{`{"op":"weather"}`, true},
		{`{"op":"event","event":{"eventType":"wallet.points_gifted"}}`, true},
		{`{"op":"event","event":{"eventType":"wallet.escrow_held"}}`, false},
		{`{"op":"reconnect"}`, false},
	} {
		err := contract.CheckServerFrame(parse(t, test.frame))
		if (err == nil) != test.valid {
			t.Errorf("%s: got %v, want valid: %t", test.frame, err, test.valid)
		}
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
