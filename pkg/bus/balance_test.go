package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// AppendJSON is compared with encoding/json, and the JSON is decoded again.
func TestBalanceHasTheJSONOfTheContract(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBalance(t)
		updated := time.UnixMilli(0)
		if !b.UpdatedAt.IsZero() {
			updated = b.UpdatedAt
		}
		lastUpdated := updated.UTC().Format(TimeFormat)
		_, id, _ := strings.Cut(b.Account, ":")
		chain := fmt.Sprintf("%016x", uint64(b.Chain))
		var contract any = struct {
			Account          string `json:"account"`
			AccountID        string `json:"accountId"`
			AccountType      string `json:"accountType"`
			AvailableBalance int64  `json:"availableBalance"`
			EscrowBalance    int64  `json:"escrowBalance"`
			Currency         string `json:"currency"`
			Seq              int64  `json:"seq"`
			Chain            string `json:"chain"`
			LastUpdated      string `json:"lastUpdated"`
		}{b.Account, id, "user", b.Available, b.Escrow, "points", b.Seq, chain, lastUpdated}
		if b.IsModel() {
			contract = struct {
				Account       string `json:"account"`
				AccountID     string `json:"accountId"`
				AccountType   string `json:"accountType"`
				EarnedBalance int64  `json:"earnedBalance"`
				Currency      string `json:"currency"`
				Seq           int64  `json:"seq"`
				Chain         string `json:"chain"`
				LastUpdated   string `json:"lastUpdated"`
			}{b.Account, id, "model", b.Earned, "points", b.Seq, chain, lastUpdated}
		}
		want, err := json.Marshal(contract)
		if err != nil {
			t.Fatal(err)
		}
		got := b.AppendJSON(nil)
		if string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		var decoded Balance
		if err := json.Unmarshal(got, &decoded); err != nil {
			t.Fatal(err)
		}
		if string(decoded.AppendJSON(nil)) != string(got) {
			t.Fatalf("decode %s: got %+v", got, decoded)
		}
	})
}

func drawBalance(t *rapid.T) Balance {
	number := rapid.Int64Range(0, 1<<53-1)
	b := Balance{
		Account:   rapid.StringMatching(`(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}`).Draw(t, "account"),
		Available: number.Draw(t, "available"),
		Escrow:    number.Draw(t, "escrow"),
		Earned:    number.Draw(t, "earned"),
		Seq:       number.Draw(t, "seq"),
		Chain:     Chain(rapid.Uint64().Draw(t, "chain")),
	}
	if rapid.Bool().Draw(t, "malformed account") {
		b.Account = "user:" + rapid.String().Draw(t, "id")
	}
	if rapid.Bool().Draw(t, "changed") {
		b.UpdatedAt = time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "ms")).In(time.FixedZone("x", 3600))
	}
	return b
}
