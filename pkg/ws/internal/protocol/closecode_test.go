package protocol

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/redroomrewards/realtime/docs"
)

// docs/asyncapi.json lists every close code with its reason, and no other code.
func TestCloseCodesAreDocumented(t *testing.T) {
	var doc struct {
		Channels struct {
			Wallet struct {
				Codes map[string]struct{ Reason string } `json:"x-close-codes"`
			}
		}
	}
	err := json.Unmarshal(docs.AsyncAPI, &doc)
	if err != nil {
		t.Fatal(err)
	}
	for code := CloseCode(1000); code < 5000; code++ {
		documented := doc.Channels.Wallet.Codes[strconv.Itoa(int(code))].Reason
		if documented != code.Reason() {
			t.Errorf("reason of %d: documented as %q, want %q", code, documented, code.Reason())
		}
	}
}
