package coreapi

import (
	"net/http"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// maxReceipt is room for a receipt with two balances.
const maxReceipt = 640

// filler is a request body that knows its part of an operation.
type filler interface{ fill(op *wallet.Op) }

// write handles one kind of operation. B is its body; target takes from the
// path whom it is about.
func write[B any, P interface {
	*B
	filler
}](kind wallet.Operation, scope string, status int, target func(*call, *wallet.Op) error) func(*call) error {
	return func(c *call) error {
		if err := c.require(scope); err != nil {
			return err
		}
		if _, err := c.query(); err != nil {
			return err
		}
		op := wallet.Op{Operation: kind}
		if err := c.headers(&op); err != nil {
			return err
		}
		var body B
		if err := c.api.bodies.decode(c.r, &body); err != nil {
			return err
		}
		P(&body).fill(&op)
		if err := target(c, &op); err != nil {
			return err
		}
		ctx, cancel := c.commitContext()
		defer cancel()
		ctx, span := c.commit(ctx, &op, 1)
		receipt, err := c.api.ledger.Do(ctx, op)
		committed(span, err)
		if err != nil {
			return err
		}
		if receipt.Replayed {
			c.w.Header()["Idempotent-Replayed"] = headerTrue
		}
		c.answer(status, appendReceipt(make([]byte, 0, maxReceipt), &receipt))
		return nil
	}
}

// headers takes what writes carry in headers. Each may be given once: of two,
// nobody could tell which one counts.
func (c *call) headers(op *wallet.Op) error {
	key, err := c.once("Idempotency-Key", "/idempotencyKey")
	if err != nil {
		return err
	}
	if key == "" {
		return malformed("/idempotencyKey", "the header Idempotency-Key is required: 1 to 255 visible ASCII characters")
	}
	op.IdempotencyKey = key
	return c.origin(op)
}

// origin takes where a request comes from.
func (c *call) origin(op *wallet.Op) (err error) {
	if _, err = c.once("X-Request-Id", "/requestId"); err != nil {
		return err
	}
	op.RequestID = c.requestID
	op.TraceParent, err = c.once("Traceparent", "/traceparent")
	return err
}

// sound applies the ledger's rules for an origin before there is an operation.
func sound(op *wallet.Op) error {
	for _, f := range []struct{ pointer, text string }{{"/requestId", op.RequestID}, {"/traceparent", op.TraceParent}} {
		if !printable(f.text) || !utf8.ValidString(f.text) {
			return malformed(f.pointer, "has at most 255 bytes of UTF-8 and no control characters")
		}
	}
	return nil
}

func (c *call) once(header, pointer string) (string, error) {
	switch v := c.r.Header[header]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", malformed(pointer, "the header "+http.CanonicalHeaderKey(header)+" is given more than once")
	}
}

func pathAccount(c *call, op *wallet.Op) error {
	op.Account = wallet.Account(c.r.PathValue("account"))
	return nil
}

func pathEscrow(c *call, op *wallet.Op) error {
	id, ok := parseUUID(c.r.PathValue("escrowId"))
	if !ok {
		return malformed("/escrowId", "an escrow is named by its UUID")
	}
	op.EscrowID = id
	return nil
}
