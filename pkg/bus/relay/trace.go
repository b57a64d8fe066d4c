package relay

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// recordSpan records a span from the commit of a published transaction to now, if its trace is
// sampled.
func (r *Relay) recordSpan(row *bus.OutboxRow, now time.Time) {
	if r.cfg.Tracer == nil {
		return
	}

	parent := bus.SpanContext(row.Updates[0].Deliveries[0].TraceParent)
	if !parent.IsSampled() {
		return
	}

	_, span := r.cfg.Tracer.Start(
		trace.ContextWithRemoteSpanContext(context.Background(), parent),
		"publish",
		trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithTimestamp(row.CommittedAt),
		trace.WithAttributes(
			attribute.String("messaging.system", "redis"),
			attribute.Int("realtime.accounts", len(row.Updates)),
		),
	)

	span.End(trace.WithTimestamp(now))
}
