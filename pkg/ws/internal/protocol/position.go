package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Position is the newest seq that a client has received for each of its accounts, and the chain
// at that seq. It is the id of a server-sent event, and the client returns it in Last-Event-ID.
//
// The position of one account has the form "user:u1=42:9f3ab2c1d4e5f607". The position of several
// accounts is a checksum of the accounts, followed by their seqs and chains in the order of the
// sorted accounts. It does not name the accounts, because the client reconnects with the same URL,
// which names them. Its seqs have base 36 and its chains have base 64, because it is sent with each
// event.
type Position struct {
	accounts []string // sorted
	points   []Point
	checksum string // of several accounts
}

// A Point is a point in the history of an account: a seq and the chain at that seq.
type Point struct {
	Seq      int64
	Chain    bus.Chain
	HasChain bool // false: the client did not name the chain
}

const (
	checksumDigits = 8
	seqBase        = 36 // number base of the seqs after a checksum
	chainSeparator = ":"
)

// chainEncoding encodes the chains after a checksum.
var chainEncoding = base64.RawURLEncoding.Strict()

// NewPosition returns the position before the first event of the accounts.
func NewPosition(accounts []string) Position {
	p := Position{
		accounts: slices.Sorted(slices.Values(accounts)),
		points:   make([]Point, len(accounts)),
	}

	if len(accounts) > 1 {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(strings.Join(p.accounts, "\n"))) // never fails
		p.checksum = fmt.Sprintf("%0*x", checksumDigits, sum.Sum32())
	}

	return p
}

// Set records that the client has received the events of the account up to seq.
func (p *Position) Set(account string, seq int64, chain bus.Chain) {
	i, found := slices.BinarySearch(p.accounts, account)
	if found {
		p.points[i] = Point{Seq: seq, Chain: chain, HasChain: true}
	}
}

// IsEmpty reports whether there are no accounts. That is the case for ["*"].
func (p *Position) IsEmpty() bool {
	return len(p.accounts) == 0
}

// AppendTo appends the text of the position, which has no white space.
func (p *Position) AppendTo(dst []byte) []byte {
	if len(p.accounts) == 1 {
		dst = append(dst, p.accounts[0]...)
		dst = append(dst, '=')
		dst = strconv.AppendInt(dst, p.points[0].Seq, 10)
		dst = append(dst, chainSeparator...)
		return p.points[0].Chain.AppendHex(dst)
	}

	dst = append(dst, p.checksum...)
	for i := range p.points {
		point := &p.points[i]
		dst = append(dst, '.')
		dst = strconv.AppendInt(dst, point.Seq, seqBase)
		if point.Seq == 0 {
			continue // the chain at seq 0 is always 0
		}

		dst = append(dst, chainSeparator...)
		var chain [8]byte
		binary.BigEndian.PutUint64(chain[:], uint64(point.Chain))
		dst = chainEncoding.AppendEncode(dst, chain[:])
	}

	return dst
}

// ParsePosition parses the position of a client that subscribes to the accounts. A client can also
// write a position by hand, such as "user:u1=42:9f3ab2c1d4e5f607,model:m1=7", with or without
// chains. A position of several other accounts returns no points, so that the client begins with
// snapshots. ok is false when the text is not a position.
func ParsePosition(text string, accounts []string) (after map[string]Point, ok bool) {
	if strings.Contains(text, "=") {
		return parseNamedPoints(text)
	}

	checksum, rest, _ := strings.Cut(text, ".")
	texts := strings.Split(rest, ".")
	if !isChecksum(checksum) || len(texts) < 2 {
		return nil, false
	}

	p := NewPosition(accounts)
	sameAccounts := checksum == p.checksum && len(texts) == len(accounts)
	after = map[string]Point{}
	for i, text := range texts {
		point, ok := parseCompactPoint(text)
		if !ok {
			return nil, false
		}
		if sameAccounts {
			after[p.accounts[i]] = point
		}
	}

	return after, true
}

func isChecksum(text string) bool {
	_, err := strconv.ParseUint(text, 16, 32)
	return err == nil && len(text) == checksumDigits
}

// parseNamedPoints parses the form "user:u1=42:9f3ab2c1d4e5f607,model:m1=7".
func parseNamedPoints(text string) (after map[string]Point, ok bool) {
	after = map[string]Point{}
	for pair := range strings.SplitSeq(text, ",") {
		account, value, _ := strings.Cut(pair, "=")
		digits, chain, hasChain := strings.Cut(value, chainSeparator)
		seq, ok := parseSeq(digits, 10)
		if !ok {
			return nil, false
		}

		point := Point{Seq: seq, HasChain: hasChain}
		if hasChain {
			parsed, err := bus.ParseChain(chain)
			if err != nil {
				return nil, false
			}

			point.Chain = parsed
		}

		after[account] = point
	}

	return after, true
}

// parseCompactPoint parses a seq and a chain after a checksum.
func parseCompactPoint(text string) (point Point, ok bool) {
	digits, chain, hasChain := strings.Cut(text, chainSeparator)
	seq, ok := parseSeq(digits, seqBase)
	if !ok {
		return Point{}, false
	}

	if !hasChain {
		return Point{Seq: seq, HasChain: seq == 0}, true
	}

	decoded, err := chainEncoding.DecodeString(chain)
	if err != nil || len(decoded) != 8 {
		return Point{}, false
	}

	return Point{
		Seq:      seq,
		Chain:    bus.Chain(binary.BigEndian.Uint64(decoded)),
		HasChain: true,
	}, true
}

func parseSeq(digits string, base int) (seq int64, ok bool) {
	seq, err := strconv.ParseInt(digits, base, 64)
	inRange := seq >= 0 && seq <= MaxAmount

	return seq, err == nil && inRange
}
