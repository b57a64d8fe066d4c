package coreapi

import (
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

func readBalance(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	q, err := c.query("asOf")
	if err != nil {
		return err
	}
	asOf := q.time("asOf")
	if q.err != nil {
		return q.err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	var b wallet.Balance
	if asOf.IsZero() {
		b, err = c.api.ledger.Balance(ctx, account)
	} else {
		b, err = c.api.ledger.BalanceAt(ctx, account, asOf)
	}
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, appendBalance(make([]byte, 0, 320), &b))
	return nil
}

func readEntries(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	q, err := c.query("limit", "before", "reason", "from", "to")
	if err != nil {
		return err
	}
	filter := wallet.EntryFilter{Reason: q.reason(), From: q.time("from"), To: q.time("to")}
	page := wallet.Page{Limit: q.limit(), Before: q.get("before")}
	if q.err != nil {
		return q.err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	entries, next, err := c.api.ledger.Entries(ctx, account, filter, page)
	if err != nil {
		return err
	}
	body, err := appendEntries(make([]byte, 0, 64+640*len(entries)), entries, next)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, body)
	return nil
}

func readEvents(c *call) error {
	c.w.Header().Set(coreclient.HeaderStreams, c.api.streams)
	account, err := c.account()
	if err != nil {
		return err
	}
	q, err := c.query("after", "limit")
	if err != nil {
		return err
	}
	after, limit := q.number("after", 0, wallet.MaxAmount, 0), q.limit()
	if q.err != nil {
		return q.err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	events, last, err := c.api.ledger.Events(ctx, account, after, limit)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, appendEvents(make([]byte, 0, 64+512*len(events)), events, last))
	return nil
}

func readEscrows(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	if !account.IsUser() {
		return malformed("/account", "only a user has escrows")
	}
	q, err := c.query("status", "limit", "before")
	if err != nil {
		return err
	}
	status := wallet.EscrowStatus(q.get("status"))
	switch status {
	case "", wallet.StatusHeld, wallet.StatusSettled, wallet.StatusRefunded, wallet.StatusPartiallySettled:
	default:
		return malformed("/status", "a status is held, settled, refunded or partially_settled")
	}
	page := wallet.Page{Limit: q.limit(), Before: q.get("before")}
	if q.err != nil {
		return q.err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	escrows, next, err := c.api.ledger.Escrows(ctx, account, status, page)
	if err != nil {
		return err
	}
	out := escrowsShape{Escrows: make([]escrowShape, len(escrows)), Next: next}
	for i := range escrows {
		out.Escrows[i] = shapeEscrow(&escrows[i])
	}
	return c.answerJSON(out)
}

// readEscrow looks the escrow up before it knows whose it is: a bearer of other
// accounts is refused then. One that has no accounts at all is refused before.
func readEscrow(c *call) error {
	if len(c.claims.Accounts) == 0 {
		if err := c.require(auth.ScopeRead); err != nil {
			return err
		}
	}
	id, ok := parseUUID(c.r.PathValue("escrowId"))
	if !ok {
		return malformed("/escrowId", "an escrow is named by its UUID")
	}
	if _, err := c.query(); err != nil {
		return err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	e, err := c.api.ledger.Escrow(ctx, id)
	if err != nil {
		return err
	}
	if err := c.mayRead(string(e.User), string(e.Model)); err != nil {
		return err
	}
	return c.answerJSON(shapeEscrow(&e))
}

func readTransaction(c *call) error {
	if err := c.require(auth.ScopeRead); err != nil {
		return err
	}
	id, ok := parseUUID(c.r.PathValue("transactionId"))
	if !ok {
		return malformed("/transactionId", "a transaction is named by its UUID")
	}
	if _, err := c.query(); err != nil {
		return err
	}
	ctx, cancel := c.queryContext()
	defer cancel()
	t, err := c.api.ledger.Transaction(ctx, id)
	if err != nil {
		return err
	}
	body, err := appendTransaction(nil, &t)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, body)
	return nil
}

// account takes the account from the path, if the bearer may read it.
func (c *call) account() (wallet.Account, error) {
	a, err := wallet.ParseAccount(c.r.PathValue("account"))
	if err != nil {
		return "", err
	}
	return a, c.mayRead(string(a))
}

// query is the parameters after the question mark; err is the first mistake.
type query struct {
	values url.Values
	err    error
}

// query refuses unknown and repeated parameters.
func (c *call) query(known ...string) (*query, error) {
	values, refused := httpserver.Query(c.r, known...)
	if refused != nil {
		f := refused.Errors[0]
		return nil, malformed(f.Pointer, f.Detail)
	}
	return &query{values: values}, nil
}

func (q *query) get(name string) string { return q.values.Get(name) }

func (q *query) limit() int { return int(q.number("limit", 1, maxLimit, defaultLimit)) }

func (q *query) number(name string, low, high, absent int64) int64 {
	n, refused := httpserver.Number(q.values, name, low, high, absent)
	if refused != nil {
		q.fail(name, refused.Detail)
	}
	return n
}

// time is zero when the parameter is absent. What is before 1970 is 1970: the
// ledger's times are those of UUIDv7, which begin there.
func (q *query) time(name string) time.Time {
	s := q.get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		q.fail(name, "is a time of RFC 3339, such as 2026-11-23T19:02:58Z (a + is written %2B)")
	}
	if epoch := time.Unix(0, 0); t.Before(epoch) {
		return epoch
	}
	return t
}

var reasonForm = regexp.MustCompile(reasonPattern)

func (q *query) reason() string {
	s := q.get("reason")
	if s != "" && !reasonForm.MatchString(s) {
		q.fail("reason", "a reason matches "+reasonPattern)
	}
	return s
}

func (q *query) fail(name, detail string) {
	if q.err == nil {
		q.err = malformed("/"+name, detail)
	}
}
