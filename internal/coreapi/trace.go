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

// startRequestSpan starts the request's span if there is a tracer. It returns the context of the
// request.
func (a *API) startRequestSpan(r *http.Request, pattern string) (context.Context, trace.Span) {
	ctx := r.Context()
	if a.cfg.Tracer == nil {
		return ctx, nil
	}

	parent := bus.SpanContext(r.Header.Get(traceHeader))
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	return a.cfg.Tracer.Start(ctx, pattern,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("http.request.method", r.Method),
			attribute.String("http.route", strings.TrimPrefix(pattern, r.Method+" ")),
		))
}

// endRequestSpan ends the span, if there is one.
func endRequestSpan(span trace.Span, status int) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}

// startCommitSpan starts the span of a group commit and sets the trace context of op, which is
// published with the operations' events. Without a tracer the trace context is the request's
// traceparent, if it is valid. Consumers of the streams rely on a valid one.
func (c *call) startCommitSpan(ctx context.Context, op *wallet.Op, operations int) (context.Context, trace.Span) {
	if c.api.cfg.Tracer == nil {
		if bus.SpanContext(op.TraceParent).IsValid() {
			op.Trace = op.TraceParent
		}
		return ctx, nil
	}

	attributes := trace.WithAttributes(attribute.Int("realtime.operations", operations))
	ctx, span := c.api.cfg.Tracer.Start(ctx, "commit", attributes)
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	op.Trace = carrier[traceHeader]
	return ctx, span
}

// endCommitSpan ends the span, if there is one.
func endCommitSpan(span trace.Span, err error) {
	if span == nil {
		return
	}
	defer span.End()
	if err == nil {
		return
	}

	details := DescribeError(err)
	isFailure := details == nil || details.Status >= http.StatusInternalServerError
	if isFailure {
		span.SetStatus(otelcodes.Error, err.Error())
		return
	}
	span.SetAttributes(attribute.String("realtime.refusal", details.Code))
}
