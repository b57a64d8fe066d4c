package protocol

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/redroomrewards/realtime/docs"
)

// Every code that the server closes with is documented, and no other.
func TestCloseCodesAreDocumented(t *testing.T) {
	var doc struct {
		Channels struct {
			Wallet struct {
				Codes map[string]struct{ Reason string } `json:"x-close-codes"`
			}
		}
	}
	if err := json.Unmarshal(docs.AsyncAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for code := CloseCode(1000); code < 5000; code++ {
		if got := doc.Channels.Wallet.Codes[strconv.Itoa(int(code))].Reason; got != code.Reason() {
			t.Errorf("%d is documented as %q, and is sent with %q", code, got, code.Reason())
		}
	}
}
