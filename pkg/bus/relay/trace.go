package relay

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// recordSpan makes a span of each published transaction whose trace is sampled, from
// the commit to now.
func (r *Relay) recordSpan(row *bus.OutboxRow, now time.Time) {
	if r.cfg.Tracer == nil {
		return
	}
	parent := bus.SpanContext(row.Updates[0].Deliveries[0].TraceParent)
	if !parent.IsSampled() {
		return
	}
	_, span := r.cfg.Tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "publish",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(row.CommittedAt),
		trace.WithAttributes(attribute.String("messaging.system", "redis"), attribute.Int("realtime.accounts", len(row.Updates))))
	span.End(trace.WithTimestamp(now))
}
