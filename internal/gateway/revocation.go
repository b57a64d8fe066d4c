package gateway

import (
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws"
)

// A revocation is stored in Redis as a member of a sorted set. The score is the end of the
// revocation, in seconds since 1970. The member is "token <id>" or "account <seconds> <account>".
// The latter revokes the account's tokens that were issued until that second.
const (
	kindToken   = "token"
	kindAccount = "account"
)

// encodeRevocation returns the member of the sorted set for a revocation.
func encodeRevocation(v ws.Revocation) string {
	if v.TokenID != "" {
		return kindToken + " " + v.TokenID
	}
	return kindAccount + " " + unixSeconds(v.At) + " " + v.Account
}

// parseRevocation decodes a member of the sorted set.
func parseRevocation(member string, score float64) (v ws.Revocation, ok bool) {
	v.Until = time.Unix(int64(score), 0)
	kind, rest, _ := strings.Cut(member, " ")
	switch kind {
	case kindToken:
		v.TokenID = rest
		return v, rest != ""
	case kindAccount:
		at, account, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(at, 10, 64)
		v.At = time.Unix(n, 0)
		v.Account = account
		return v, err == nil && account != ""
	}
	return v, false
}

func unixSeconds(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10)
}
