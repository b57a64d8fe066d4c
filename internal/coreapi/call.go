package coreapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// A call is one request on its way through a handler.
type call struct {
	api       *API
	ctx       context.Context // of the request, with its span; ends when the client disconnects
	w         http.ResponseWriter
	r         *http.Request
	claims    *auth.Claims // set by authenticate
	requestID string
	buffer    *[]byte // holds the request's body, then the answer
	status    int     // of the answer
}

// addRoute registers a call in the OpenAPI document, on the mux and in the metrics. The error that
// handle returns becomes the answer.
func (a *API) addRoute(op huma.Operation, handle func(*call) error) {
	a.huma.OpenAPI().AddOperation(&op)
	pattern := op.Method + " " + op.Path
	metrics := a.metrics.ofOperation(op.OperationID)
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		ctx, span := a.startRequestSpan(r, pattern)
		c := call{api: a, ctx: ctx, w: w, r: r, buffer: a.buffers.getBuffer()}
		c.setRequestID()
		if err := handle(&c); err != nil {
			c.writeError(err)
		}
		a.buffers.putBuffer(c.buffer)
		endRequestSpan(span, c.status)
		metrics.observeRequest(c.status, begin)
		if a.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
			a.cfg.Logger.DebugContext(ctx, "request", "operation", op.OperationID, "status", c.status,
				"requestId", c.requestID, "took", time.Since(begin))
		}
	})
}

const maxRequestID = 255 // bytes

// setRequestID takes the client's request id, or makes one, and echoes it. An id that the ledger
// will refuse is not echoed.
func (c *call) setRequestID() {
	given := c.r.Header["X-Request-Id"]
	if len(given) == 0 || given[0] == "" {
		c.requestID = uuid.NewString()
	} else {
		c.requestID = given[0]
		if !isPrintable(c.requestID) {
			return
		}
	}
	c.w.Header()["X-Request-Id"] = []string{c.requestID}
}

// isPrintable reports whether a header's value is short enough and has no control characters.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return len(s) <= maxRequestID
}

// queryContext returns the context of a read. It ends when the client disconnects, which cancels
// the query.
func (c *call) queryContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.api.cfg.Timeout)
}

// commitContext returns the context of a write. It does not end when the client disconnects: an
// operation that was admitted to the ledger's queue completes, and a retry with the same
// Idempotency-Key returns its result.
func (c *call) commitContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.ctx), c.api.cfg.Timeout)
}

// commitOperation has the ledger validate and commit an operation, and waits for the receipt.
func (c *call) commitOperation(op *wallet.Op) (wallet.Receipt, error) {
	ctx, cancel := c.commitContext()
	defer cancel()
	ctx, span := c.startCommitSpan(ctx, op, 1)
	receipt, err := c.api.ledger.Do(ctx, *op)
	endCommitSpan(span, err)
	return receipt, err
}

// writeBody answers with a body of JSON that was appended to the call's buffer, or with another
// one.
func (c *call) writeBody(status int, body []byte) {
	c.status = status
	body = append(body, '\n') // a terminal likes it
	*c.buffer = body
	httpserver.WriteBody(c.w, status, body)
}

// newBody returns the call's buffer, empty, for the answer. The request's body is lost with that.
func (c *call) newBody() []byte { return (*c.buffer)[:0] }

// writeValue answers a read with the JSON of v.
func (c *call) writeValue(v any) error {
	body, err := appendJSON(c.newBody(), v)
	if err != nil {
		return err
	}
	c.writeBody(http.StatusOK, body)
	return nil
}

// statusClientClosed is the status of a read whose client disconnected before the answer. Only
// logs, metrics and traces show it.
const statusClientClosed = 499

// writeError answers with the problem that stands for the error.
func (c *call) writeError(err error) {
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		c.status = statusClientClosed
		return
	}
	details := c.describeError(err)
	c.status = details.Status
	problem.Write(c.w, details)
}

// describeError returns the problem that the client is told of. An error that is not in the table
// is our fault: it is logged, and the client learns the request id.
func (c *call) describeError(err error) *problem.Details {
	if details := DescribeError(err); details != nil {
		return details
	}
	c.api.cfg.Logger.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "requestId", c.requestID, "err", err)
	return problem.New(http.StatusInternalServerError, "internal", "Internal error", detailInternal)
}
