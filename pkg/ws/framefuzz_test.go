package ws

import (
	"encoding/json"
	"testing"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		``,
		`[`,
		`[[[[[[[[[[`,
		`{"op":"ping"}`,
		`{"op":"ping"}{"op":"ping"}`,
		"{\"op\":\"ping\"}\n{}",
		`{"op":"ping","op":"ping"}`,
		`{"op":"ping","Op":"auth"}`,
		`{"op":"ping","sub":"a"}`,
		`{"op":{"op":1}}`,
		`{"op":"auth","token":"x"}`,
		`{"op":"auth","token":"x","snapshot":false}`,
		`{"op":"unsubscribe","sub":null}`,
		`{"op":"unsubscribe","sub":"a","after":{}}`,
		`{"op":"subscribe","after":{"a":1,"a":1}}`,
		`{"op":"subscribe","after":{"a":1,"b":2}}`,
		`{"op":"subscribe","after":{"a":1e99}}`,
		`{"op":"subscribe","sub":"s","after":{"a":null}}`,
		`{"op":"subscribe","sub":"s","accounts":["user:u1"],"types":["a"],"minAmount":5,` +
			`"after":{"user:u1":4},"snapshot":false}`,
		`{"op":"subscribe","sub":"s","after":{"user:u1":4},"chain":{"user:u1":"9f3ab2c1d4e5f607"}}`,
		`{"op":"subscribe","sub":"s","accounts":[],"reasons":["a","b"],"features":["c"],` +
			`"after":{},"snapshot":true}`,
		`{"snapshot":true,"op":"subscribe","sub":"s","types":null}`,
		`{"op":"ping"}{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}`,
	} {
		f.Add([]byte(seed))
	}
	h := NewHub(Config{}, newLedger(), newLedger())
	f.Fuzz(func(t *testing.T, message []byte) {
		total := 0
		accepted := 0
		protocol.ForEachFrame(message, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
			total++
			if refused == nil {
				accepted++
				checkAcceptedFrame(t, h, &f)
			} else {
				checkRefusedFrame(t, &f, refused)
			}
			return total < 100
		})
		if total == 0 {
			t.Error("got no frame and no refusal")
		}
		if total == 1 && accepted == 1 {
			checkPlainJSON(t, message)
		}
	})
}

// checkRefusedFrame checks that the refusal can be sent as an error frame.
func checkRefusedFrame(t *testing.T, f *protocol.ClientFrame, refused *protocol.Refusal) {
	t.Helper()
	checkEqual(t, "code", refused.Code, protocol.CodeBadRequest)
	if refused.Message == "" {
		t.Error("message: got none")
	}
	checkValidJSON(t, protocol.ErrorFrame(f.Sub, refused))
}

// checkAcceptedFrame checks that an accepted frame has a known op, and that a valid subscription is
// only for the accounts of the identity.
func checkAcceptedFrame(t *testing.T, h *Hub, f *protocol.ClientFrame) {
	t.Helper()
	if !protocol.IsKnownOp(f.Op) {
		t.Errorf("op: got %q, want a known op", f.Op)
	}
	if f.Op != protocol.OpSubscribe {
		return
	}
	identity := &Identity{Subject: "user:u1", Accounts: []string{"user:u1"}}
	r, refused := h.validator.ValidateSubscribe(f, identity.tokenScope())
	if refused != nil {
		return
	}
	checkValidJSON(t, protocol.Quote(r.Name))
	if len(r.Accounts) != 1 {
		t.Fatalf("accounts: got %q, want one", r.Accounts)
	}
	checkEqual(t, "account", r.Accounts[0], "user:u1")
	for account := range r.Chain {
		_, hasAfter := r.After[account]
		if !hasAfter {
			t.Errorf("chain of %s: got accepted, want refused without after", account)
		}
	}
}

// checkPlainJSON checks an accepted message with another JSON parser.
func checkPlainJSON(t *testing.T, message []byte) {
	t.Helper()
	var value any
	err := json.Unmarshal(message, &value)
	if err != nil {
		t.Errorf("%q: got accepted, want refused: %v", message, err)
	}
	if !isPlainValue(value, protocol.MaxNesting) {
		t.Errorf("%q: got accepted, want refused because of null or nesting", message)
	}
}

// isPlainValue reports whether a decoded value has no null and at most the given levels.
func isPlainValue(value any, levels int) bool {
	switch v := value.(type) {
	case nil:
		return false
	case []any:
		for _, element := range v {
			if !isPlainValue(element, levels-1) {
				return false
			}
		}
		return levels > 0
	case map[string]any:
		for _, member := range v {
			if !isPlainValue(member, levels-1) {
				return false
			}
		}
		return levels > 0
	}
	return true
}

func checkValidJSON(t testing.TB, b []byte) {
	t.Helper()
	if !json.Valid(b) {
		t.Errorf("got %q, want valid JSON", b)
	}
}
