package bus

import (
	"encoding/hex"
	"fmt"
)

// A Chain identifies an account's history up to one event. It comes from the account's hash chain
// over its ledger entries. Two histories of an account that have the same seq and the same Chain
// are the same history. The ledger's numbers alone do not show this: after a failover that lost
// commits, the ledger gives the same seq to other events.
//
// The Chain of an event with a ledger entry is the first 8 bytes of the entry's hash, in big-endian
// order. The Chain of an escrow operation's own event, which has no entry, is the first 8 bytes of
// SHA-256 over the account's hash before the event (32 bytes; zeros if the account has no entry
// yet) and the transaction id (16 bytes). The Chain before an account's first event is 0.
type Chain uint64

// chainDigits is the length of a Chain's text.
const chainDigits = 16

// ParseChain parses 16 lower-case hexadecimal digits.
func ParseChain[T string | []byte](text T) (Chain, error) {
	if len(text) != chainDigits {
		return 0, errChain(text)
	}

	var value uint64
	for i := range len(text) {
		c := text[i]
		var digit uint64
		switch {
		case c >= '0' && c <= '9':
			digit = uint64(c - '0')
		case c >= 'a' && c <= 'f':
			digit = uint64(c-'a') + 10
		default:
			return 0, errChain(text)
		}

		value = value<<4 | digit
	}

	return Chain(value), nil
}

func errChain[T string | []byte](text T) error {
	return fmt.Errorf("chain must be 16 lower-case hexadecimal digits, got %.40q", string(text))
}

// AppendText implements encoding.TextAppender. It appends 16 lower-case hexadecimal digits and
// never returns an error.
func (c Chain) AppendText(dst []byte) ([]byte, error) { return c.AppendHex(dst), nil }

// AppendHex appends 16 lower-case hexadecimal digits.
func (c Chain) AppendHex(dst []byte) []byte {
	b := [8]byte{
		byte(c >> 56), byte(c >> 48), byte(c >> 40), byte(c >> 32),
		byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c),
	}

	return hex.AppendEncode(dst, b[:])
}

// String returns 16 lower-case hexadecimal digits.
func (c Chain) String() string {
	var digits [chainDigits]byte
	return string(c.AppendHex(digits[:0]))
}

// MarshalText implements encoding.TextMarshaler, so that JSON has the chain as a string.
func (c Chain) MarshalText() ([]byte, error) { return c.AppendHex(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Chain) UnmarshalText(text []byte) error {
	parsed, err := ParseChain(text)
	if err != nil {
		return err
	}

	*c = parsed
	return nil
}
