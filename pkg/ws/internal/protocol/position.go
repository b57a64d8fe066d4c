package protocol

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// A Position says how far a client is in the events of its accounts. It is the id of a server-sent
// event, which comes back in Last-Event-ID. The position of one account reads "user:u1=42". That of
// several accounts is a checksum of the accounts, then their seqs in the order of the sorted
// accounts. It does not name them, since the client comes back with the same URL, which does.
type Position struct {
	accounts []string // sorted
	seqs     []int64
	checksum string // of several accounts
}

const (
	checksumDigits = 8
	seqBase        = 36 // of seqs behind a checksum
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

// Set notes that the client has the account's events up to seq.
func (p *Position) Set(account string, seq int64) {
	i, ok := slices.BinarySearch(p.accounts, account)
	if ok {
		p.seqs[i] = seq
	}
}

// IsEmpty reports whether there are no accounts, as for ["*"].
func (p *Position) IsEmpty() bool { return len(p.accounts) == 0 }

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

// ParsePosition reads the position of a client that subscribes to these accounts. A client may also
// write one by hand, as "user:u1=42,model:m1=7". The position of several other accounts gives no
// seqs, so that the client begins with snapshots. ok is false for a text that is no position.
func ParsePosition(text string, accounts []string) (after map[string]int64, ok bool) {
	if strings.Contains(text, "=") {
		return parseNamedSeqs(text)
	}
	checksum, rest, _ := strings.Cut(text, ".")
	seqs := strings.Split(rest, ".")
	if _, err := strconv.ParseUint(checksum, 16, 32); err != nil || len(checksum) != checksumDigits {
		return nil, false
	}
	if len(seqs) < 2 {
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

// parseNamedSeqs reads "user:u1=42,model:m1=7".
func parseNamedSeqs(text string) (after map[string]int64, ok bool) {
	after = map[string]int64{}
	for word := range strings.SplitSeq(text, ",") {
		account, digits, _ := strings.Cut(word, "=")
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
	return seq, err == nil && seq >= 0 && seq <= MaxAmount
}
