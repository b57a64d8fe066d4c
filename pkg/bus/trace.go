package bus

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// SpanContext reads a W3C traceparent. It is not valid when the text is none.
func SpanContext(traceparent string) trace.SpanContext {
	if traceparent == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// traced makes a span of each published transaction whose trace is sampled, from
// the commit to now.
func (r *Relay) traced(row *Pending, now time.Time) {
	if r.cfg.Tracer == nil {
		return
	}
	parent := SpanContext(row.Groups[0].Deliveries[0].TraceParent)
	if !parent.IsSampled() {
		return
	}
	_, span := r.cfg.Tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "publish",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(row.CommittedAt),
		trace.WithAttributes(attribute.String("messaging.system", "redis"), attribute.Int("realtime.accounts", len(row.Groups))))
	span.End(trace.WithTimestamp(now))
}
