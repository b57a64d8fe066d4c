package gateway

import (
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws"
)

// A revocation in Redis is a member of a sorted set, whose score is its end in
// seconds since 1970: "token <id>", or "account <seconds> <account>" with the
// second until which the account's tokens were issued.
const (
	kindToken   = "token"
	kindAccount = "account"
)

func member(v ws.Revocation) string {
	if v.TokenID != "" {
		return kindToken + " " + v.TokenID
	}
	return kindAccount + " " + seconds(v.At) + " " + v.Account
}

func parseMember(text string, score float64) (v ws.Revocation, ok bool) {
	v.Until = time.Unix(int64(score), 0)
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case kindToken:
		v.TokenID = rest
		return v, rest != ""
	case kindAccount:
		at, account, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(at, 10, 64)
		v.At, v.Account = time.Unix(n, 0), account
		return v, err == nil && account != ""
	}
	return v, false
}

func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
