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
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// A call is one request in a handler.
type call struct {
	api       *API
	ctx       context.Context // has the request's span; ends when the client disconnects
	w         http.ResponseWriter
	r         *http.Request
	claims    *auth.Claims // set by authenticate
	requestID string
	buffer    *[]byte   // the body of the request, later the answer
	transfer  *transfer // of the buffer if it is large; nil: it does not count
	status    int       // status of the answer
}

// addRoute registers a call in the OpenAPI document, on the mux and in the metrics. The error that
// handle returns becomes the answer.
func (a *API) addRoute(op huma.Operation, handle func(*call) error) {
	a.document.AddOperation(&op)
	pattern := op.Method + " " + op.Path
	metrics := a.metrics.ofOperation(op.OperationID)
	isRead := op.Method == http.MethodGet
	a.addPreflight(op.Path)
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		if isRead {
			a.readers.Allow(w, r)
		}
		ctx, span := a.startRequestSpan(r, pattern)
		c := call{
			api:    a,
			ctx:    ctx,
			w:      w,
			r:      r,
			buffer: a.buffers.getBuffer(0),
		}
		defer c.endTransfer() // also after a panic
		c.setRequestID()

		err := handle(&c)
		if err != nil {
			c.writeError(err)
		}

		a.buffers.putBuffer(c.buffer)
		endRequestSpan(span, c.status)
		metrics.observeRequest(c.status, start)
		if a.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
			a.cfg.Logger.DebugContext(ctx, "request was answered", "operation", op.OperationID, "status", c.status,
				"requestId", c.requestID, "duration", time.Since(start))
		}
	})
}

const maxRequestID = 255 // bytes

// setRequestID sets the request id of the call and of the answer. It uses the client's id, or
// generates one. An id that the ledger will refuse is not sent back.
func (c *call) setRequestID() {
	c.requestID = c.r.Header.Get("X-Request-Id")
	if c.requestID == "" {
		c.requestID = uuid.NewString()
	}
	if !isPrintable(c.requestID) {
		return
	}
	c.w.Header()["X-Request-Id"] = []string{c.requestID}
}

// isPrintable reports whether a header's value is short enough and has no control characters.
func isPrintable(s string) bool {
	return len(s) <= maxRequestID && bus.PlainText(s)
}

// readLedger calls read when its turn has come. If there are too many reads, the error is
// errTooManyReads and read is not called. read must not write the answer, because it would keep its
// slot while a slow client receives it.
func (c *call) readLedger(read func(ctx context.Context) error) error {
	group := groupUsers
	if c.claims.Has(auth.ScopeRead) {
		group = groupServices
	}
	done, err := c.api.reads.admitRead(c.ctx, group, c.claims.Subject)
	if err != nil {
		return err
	}
	defer done()

	ctx, cancel := c.queryContext()
	defer cancel()
	return read(ctx)
}

// cancelDelay is the time from the disconnect of a client until its query is cancelled. A cancelled
// query costs a new connection to the database. That is more than the rest of a short query.
const cancelDelay = 100 * time.Millisecond

// queryContext returns the context of a read. It ends soon after the client has disconnected, so
// that a long query is cancelled.
func (c *call) queryContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.api.cfg.Timeout)
	stop := context.AfterFunc(c.ctx, func() { time.AfterFunc(cancelDelay, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// commitContext returns the context of a write. It does not end when the client disconnects: an
// operation that was admitted to the ledger's queue completes, and a retry with the same
// Idempotency-Key returns its result.
func (c *call) commitContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.ctx), c.api.cfg.Timeout)
}

// commitOperation passes an operation to the ledger, which validates and commits it. It waits for
// the receipt.
func (c *call) commitOperation(op *wallet.Op) (wallet.Receipt, error) {
	ctx, cancel := c.commitContext()
	defer cancel()
	ctx, span := c.startCommitSpan(ctx, op, 1)

	receipt, err := c.api.ledger.Do(ctx, *op)
	endCommitSpan(span, err)
	return receipt, err
}

// writeBody answers with a JSON body. The body becomes the call's buffer.
func (c *call) writeBody(status int, body []byte) {
	body = c.keepBody(append(body, '\n')) // for terminals
	isRead := c.r.Method == http.MethodGet
	err := c.sendLarge(cap(body), isRead)
	if err != nil {
		*c.buffer = nil
		c.writeError(err)
		return
	}
	c.status = status
	httpserver.WriteBody(c.w, status, body)
}

// writeValue answers a read with the JSON of v.
func (c *call) writeValue(v any) error {
	body, err := appendJSON(c.newBody(), v)
	if err != nil {
		return err
	}
	c.writeBody(http.StatusOK, body)
	return nil
}

// statusClientClosed is the status of a read if the client disconnected before the answer. It is
// used only in logs, metrics and traces.
const statusClientClosed = 499

// writeError answers with the problem of the error.
func (c *call) writeError(err error) {
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		c.status = statusClientClosed
		return
	}

	details := c.describeError(err)
	c.status = details.Status
	problem.Write(c.w, details)
}

// describeError returns the problem for the client. An error that is not in the table is an
// internal error. It is logged with the request id, and the client gets a general problem.
func (c *call) describeError(err error) *problem.Details {
	details := DescribeError(err)
	if details != nil {
		c.logUnavailable(err)
		return details
	}

	c.api.cfg.Logger.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path,
		"requestId", c.requestID, "error", err)
	return problem.New(http.StatusInternalServerError, "internal", "Internal error", detailInternal)
}

// logUnavailable logs why a read was not answered, at most once a minute. The ledger itself logs why
// writes fail.
func (c *call) logUnavailable(err error) {
	if c.r.Method != http.MethodGet || !errors.Is(err, wallet.ErrUnavailable) {
		return
	}

	c.api.readLog.Do(func() {
		c.api.cfg.Logger.Warn("a read was not answered; while this goes on, it is logged once a minute",
			"path", c.r.URL.Path, "requestId", c.requestID, "error", err)
	})
}
