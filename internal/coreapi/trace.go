package coreapi

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

const traceHeader = "traceparent"

// begin starts the request's span, when there is a tracer.
func (a *API) begin(ctx context.Context, r *http.Request, route string) (context.Context, trace.Span) {
	if a.cfg.Tracer == nil {
		return ctx, nil
	}
	if v := r.Header.Get(traceHeader); v != "" {
		if parent := bus.SpanContext(v); parent.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
		}
	}
	return a.cfg.Tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("http.route", strings.TrimPrefix(route, r.Method+" "))))
}

// end ends what begin started.
func end(span trace.Span, status int) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}

// commit starts the span of operations on their way through group commit; op is one
// of them, or what they all begin with. The span goes with their events. Without a
// tracer the request's own traceparent does, if it is one by W3C's rules: consumers of
// the streams rely on it.
func (c *call) commit(ctx context.Context, op *wallet.Op, operations int) (context.Context, trace.Span) {
	if c.api.cfg.Tracer == nil {
		if op.TraceParent != "" && bus.SpanContext(op.TraceParent).IsValid() {
			op.Trace = op.TraceParent
		}
		return ctx, nil
	}
	ctx, span := c.api.cfg.Tracer.Start(ctx, "commit", trace.WithAttributes(attribute.Int("realtime.operations", operations)))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	op.Trace = carrier[traceHeader]
	return ctx, span
}

// committed ends what commit started.
func committed(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		if d := DescribeError(err); d == nil || d.Status >= http.StatusInternalServerError {
			span.SetStatus(otelcodes.Error, err.Error())
		} else {
			span.SetAttributes(attribute.String("realtime.refusal", d.Code))
		}
	}
	span.End()
}
