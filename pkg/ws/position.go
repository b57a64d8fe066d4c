package ws

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// A position is how far a client is in the events of its accounts: the id of a
// server-sent event, which comes back in Last-Event-ID. Of one account it is
// "user:u1=42". Of several it is their seqs in the order of the sorted accounts,
// behind a checksum of these: the client repeats the accounts by itself, since it
// comes back with the same URL.
type position struct {
	accounts []string // sorted
	seqs     []int64
	prefix   string // of several: the checksum
}

func newPosition(accounts []string) position {
	p := position{accounts: slices.Sorted(slices.Values(accounts)), seqs: make([]int64, len(accounts))}
	if len(accounts) > 1 {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(strings.Join(p.accounts, "\n"))) // never fails
		p.prefix = fmt.Sprintf("%08x", sum.Sum32())
	}
	return p
}

// set notes that the client has the account's events up to seq.
func (p *position) set(account string, seq int64) {
	if i, ok := slices.BinarySearch(p.accounts, account); ok {
		p.seqs[i] = seq
	}
}

// appendTo appends the text, which has no white space. It is empty without accounts.
func (p *position) appendTo(dst []byte) []byte {
	if len(p.accounts) == 1 {
		dst = append(append(dst, p.accounts[0]...), '=')
		return strconv.AppendInt(dst, p.seqs[0], 10)
	}
	dst = append(dst, p.prefix...)
	for _, seq := range p.seqs {
		dst = strconv.AppendInt(append(dst, '.'), seq, 36)
	}
	return dst
}

// parseAfter reads a position of a client that subscribes to these accounts.
// Written by hand, several are "user:u1=42,model:m1=7". It is false for what is no
// position. An id of several other accounts is empty: these begin with a snapshot.
func parseAfter(text string, accounts []string) (map[string]int64, bool) {
	after := map[string]int64{}
	if !strings.Contains(text, "=") {
		p := newPosition(accounts)
		words := strings.Split(text, ".")
		if _, err := strconv.ParseUint(words[0], 16, 32); err != nil || len(words[0]) != 8 || len(words) < 3 {
			return nil, false
		}
		same := words[0] == p.prefix && len(words) == len(accounts)+1
		for i, w := range words[1:] {
			seq, ok := parseSeq(w, 36)
			if !ok {
				return nil, false
			}
			if same {
				after[p.accounts[i]] = seq
			}
		}
		return after, true
	}
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

func parseSeq(s string, base int) (int64, bool) {
	seq, err := strconv.ParseInt(s, base, 64)
	return seq, err == nil && seq >= 0 && seq <= maxAmount
}
