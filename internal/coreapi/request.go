package coreapi

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// invalidField returns the error of a request with a malformed field. The pointer names the field.
func invalidField(pointer, detail string) error {
	return &wallet.InvalidError{Fields: []wallet.FieldError{{Pointer: pointer, Detail: detail}}}
}

// singleHeader returns the value of a header, or "" if it is absent. It refuses a header that is
// given twice, because the meaning would be ambiguous. The name must be canonical.
func (c *call) singleHeader(name, pointer string) (string, error) {
	values := c.r.Header[name]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", invalidField(pointer, "the "+name+" header must be given only once")
	}
}

// origin has the ids that connect a request with the client's own records.
type origin struct {
	requestID   string
	traceParent string
}

// readOrigin reads the request id and the trace context.
func (c *call) readOrigin() (origin, error) {
	_, err := c.singleHeader("X-Request-Id", "/requestId")
	if err != nil {
		return origin{}, err
	}
	traceParent, err := c.singleHeader("Traceparent", "/traceparent")
	if err != nil {
		return origin{}, err
	}
	return origin{
		requestID:   c.requestID,
		traceParent: traceParent,
	}, nil
}

// validateOrigin applies the ledger's rules to the origin of a batch. For a single operation the
// ledger does that.
func validateOrigin(o origin) error {
	const detail = "must be at most 255 bytes of UTF-8 without control characters"
	switch {
	case !isPrintable(o.requestID):
		return invalidField("/requestId", detail)
	case !isPrintable(o.traceParent):
		return invalidField("/traceparent", detail)
	}
	return nil
}

// readOperation makes the checks that precede every operation, in the documented order: the token,
// its scope, the headers, the body. It decodes the body into dst.
func (c *call) readOperation(scope string, dst any) (operationHeaders, error) {
	err := c.authenticate()
	if err != nil {
		return operationHeaders{}, err
	}
	err = c.requireScope(scope)
	if err != nil {
		return operationHeaders{}, err
	}
	headers, err := c.readOperationHeaders()
	if err != nil {
		return operationHeaders{}, err
	}
	return headers, c.decodeBody(dst)
}

// operationHeaders has the values of an operation's headers.
type operationHeaders struct {
	idempotencyKey string
	origin
}

// readOperationHeaders reads the headers of an operation. It refuses query parameters, because an
// operation has none.
func (c *call) readOperationHeaders() (operationHeaders, error) {
	_, err := c.readQuery()
	if err != nil {
		return operationHeaders{}, err
	}

	key, err := c.singleHeader("Idempotency-Key", "/idempotencyKey")
	if err != nil {
		return operationHeaders{}, err
	}
	if key == "" {
		return operationHeaders{}, invalidField("/idempotencyKey",
			"the Idempotency-Key header must have 1 to 255 visible ASCII characters")
	}

	origin, err := c.readOrigin()
	if err != nil {
		return operationHeaders{}, err
	}
	return operationHeaders{
		idempotencyKey: key,
		origin:         origin,
	}, nil
}

// accountToChange returns the account in the path of an operation. The ledger validates it. The
// account is a copy, because the ledger's cache may keep it, and a part of the path would keep the
// whole request line in memory.
func (c *call) accountToChange() wallet.Account {
	return wallet.Account(strings.Clone(c.r.PathValue("account")))
}

// accountToRead returns the account in the path of a query. It requires that the token may read it.
func (c *call) accountToRead() (wallet.Account, error) {
	account, err := wallet.ParseAccount(c.r.PathValue("account"))
	if err != nil {
		return "", err
	}
	err = c.requireReadable(string(account))
	if err != nil {
		return "", err
	}
	return account, nil
}

// escrowID returns the escrow id in the path.
func (c *call) escrowID() (uuid.UUID, error) {
	id, ok := parseUUID(c.r.PathValue("escrowId"))
	if !ok {
		return uuid.Nil, invalidField("/escrowId", detailEscrowID)
	}
	return id, nil
}

const detailEscrowID = "an escrow's id must be a UUID of 36 characters"

// parseUUID parses the id of an escrow or a transaction. It accepts only the form with 36
// characters, so that each id has one spelling.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

// query has the parameters after the question mark. Its methods record the first error in err.
type query struct {
	values url.Values
	err    error
}

// readQuery reads the parameters. It refuses unknown and repeated parameters.
func (c *call) readQuery(known ...string) (*query, error) {
	values, refusal := httpserver.Query(c.r, known...)
	if refusal != nil {
		field := refusal.Errors[0]
		return nil, invalidField(field.Pointer, field.Detail)
	}
	return &query{values: values}, nil
}

func (q *query) textValue(name string) string {
	return q.values.Get(name)
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (q *query) limitValue() int {
	return int(q.numberValue("limit", 1, maxLimit, defaultLimit))
}

func (q *query) numberValue(name string, low, high, absent int64) int64 {
	n, refusal := httpserver.Number(q.values, name, low, high, absent)
	if refusal != nil {
		q.recordError(name, refusal.Detail)
	}
	return n
}

// timeValue returns the zero time if the parameter is absent. It returns 1970 for an earlier time,
// because the times of the ledger are those of UUIDv7, which begin in 1970.
func (q *query) timeValue(name string) time.Time {
	text := q.textValue(name)
	if text == "" {
		return time.Time{}
	}

	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.recordError(name, "must be an RFC 3339 time, for example 2026-11-23T19:02:58Z; a + must be sent as %2B")
	}

	epoch := time.Unix(0, 0)
	if t.Before(epoch) {
		return epoch
	}
	return t
}

var reasonRegexp = regexp.MustCompile(reasonPattern)

func (q *query) reasonValue() string {
	reason := q.textValue("reason")
	if reason != "" && !reasonRegexp.MatchString(reason) {
		q.recordError("reason", "a reason must match "+reasonPattern)
	}
	return reason
}

func (q *query) recordError(name, detail string) {
	if q.err == nil {
		q.err = invalidField("/"+name, detail)
	}
}
