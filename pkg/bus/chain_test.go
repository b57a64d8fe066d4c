package bus

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The text is compared with fmt, and parsed again.
func TestChainIsSixteenHexDigits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Chain(rapid.Uint64().Draw(t, "chain"))
		want := fmt.Sprintf("%016x", uint64(c))
		if got := c.String(); got != want {
			t.Fatalf("String: got %s, want %s", got, want)
		}
		parsed, err := ParseChain(want)
		if err != nil {
			t.Fatal(err)
		}
		if parsed != c {
			t.Fatalf("ParseChain(%s): got %s", want, parsed)
		}
		encoded, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if string(encoded) != `"`+want+`"` {
			t.Fatalf("JSON: got %s, want %q", encoded, want)
		}
		var decoded Chain
		err = json.Unmarshal(encoded, &decoded)
		if err != nil {
			t.Fatal(err)
		}
		if decoded != c {
			t.Fatalf("decode %s: got %s", encoded, decoded)
		}
	})
}

func TestParseChainRefusesOtherTexts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "0", "9f3ab2c1d4e5f60", "9f3ab2c1d4e5f6077", "9F3AB2C1D4E5F607", "9f3ab2c1d4e5f60g", "+f3ab2c1d4e5f607"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			c, err := ParseChain(text)
			if err == nil {
				t.Errorf("got %s, want an error", c)
			}
		})
	}
}
