package protocol

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// A Position is the newest seq that a client has received for each of its accounts. It is the id of
// a server-sent event, and the client returns it in Last-Event-ID.
//
// The position of one account has the form "user:u1=42". The position of several accounts is a
// checksum of the accounts, followed by their seqs in the order of the sorted accounts. It does not
// name the accounts, because the client reconnects with the same URL, which names them.
type Position struct {
	accounts []string // sorted
	seqs     []int64
	checksum string // of several accounts
}

const (
	checksumDigits = 8
	seqBase        = 36 // number base of the seqs after a checksum
)

// NewPosition returns the position before the first event of the accounts.
func NewPosition(accounts []string) Position {
	p := Position{
		accounts: slices.Sorted(slices.Values(accounts)),
		seqs:     make([]int64, len(accounts)),
	}

	if len(accounts) > 1 {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(strings.Join(p.accounts, "\n"))) // never fails
		p.checksum = fmt.Sprintf("%0*x", checksumDigits, sum.Sum32())
	}

	return p
}

// Set records that the client has received the events of the account up to seq.
func (p *Position) Set(account string, seq int64) {
	i, found := slices.BinarySearch(p.accounts, account)
	if found {
		p.seqs[i] = seq
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
		return strconv.AppendInt(dst, p.seqs[0], 10)
	}

	dst = append(dst, p.checksum...)
	for _, seq := range p.seqs {
		dst = append(dst, '.')
		dst = strconv.AppendInt(dst, seq, seqBase)
	}

	return dst
}

// ParsePosition parses the position of a client that subscribes to the accounts. A client can also
// write a position by hand, such as "user:u1=42,model:m1=7". A position of several other accounts
// returns no seqs, so that the client begins with snapshots. ok is false when the text is not a
// position.
func ParsePosition(text string, accounts []string) (after map[string]int64, ok bool) {
	if strings.Contains(text, "=") {
		return parseNamedSeqs(text)
	}

	checksum, rest, _ := strings.Cut(text, ".")
	seqs := strings.Split(rest, ".")
	if !isChecksum(checksum) || len(seqs) < 2 {
		return nil, false
	}

	p := NewPosition(accounts)
	sameAccounts := checksum == p.checksum && len(seqs) == len(accounts)
	after = map[string]int64{}
	for i, digits := range seqs {
		seq, ok := parseSeq(digits, seqBase)
		if !ok {
			return nil, false
		}
		if sameAccounts {
			after[p.accounts[i]] = seq
		}
	}

	return after, true
}

func isChecksum(text string) bool {
	_, err := strconv.ParseUint(text, 16, 32)
	return err == nil && len(text) == checksumDigits
}

// parseNamedSeqs parses the form "user:u1=42,model:m1=7".
func parseNamedSeqs(text string) (after map[string]int64, ok bool) {
	after = map[string]int64{}
	for pair := range strings.SplitSeq(text, ",") {
		account, digits, _ := strings.Cut(pair, "=")
		seq, ok := parseSeq(digits, 10)
		if !ok {
			return nil, false
		}

		after[account] = seq
	}

	return after, true
}

func parseSeq(digits string, base int) (seq int64, ok bool) {
	seq, err := strconv.ParseInt(digits, base, 64)
	inRange := seq >= 0 && seq <= MaxAmount

	return seq, err == nil && inRange
}
