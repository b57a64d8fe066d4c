package recent

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// spanTimeout is the longest time that a span waits for the last write of its event. After that the
// span ends with the writes so far.
const spanTimeout = 5 * time.Second

// A Span covers one event in this gateway, from the stream entry to the last socket. An event has
// one span, regardless of the number of subscribers. Only events of sampled traces have a span.
type Span struct {
	span trace.Span

	mu        sync.Mutex // protects the fields below
	queued    int        // subscriptions that the event was queued for
	written   int        // sockets that the event was written to
	lastWrite time.Time
	allQueued bool // queued is final
	ended     bool
	timer     *time.Timer
}

// WithSpan returns the event for the subscribers. It is e itself, or a copy with a span if the
// trace of the event is sampled. The memory keeps e, so that a replay is not counted in the span.
func WithSpan(tracer trace.Tracer, e *Event, d *bus.Delivery) *Event {
	if tracer == nil || d.TraceParent == "" {
		return e
	}

	parent := bus.SpanContext(d.TraceParent)
	if !parent.IsSampled() {
		return e
	}

	start := time.Now()
	if e.Millis > 0 && e.Millis < start.UnixMilli() {
		start = time.UnixMilli(e.Millis)
	}

	ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
	_, span := tracer.Start(ctx, "deliver",
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithTimestamp(start),
		trace.WithAttributes(
			attribute.String("messaging.system", "redis"),
			attribute.String("realtime.event.type", e.Type),
			attribute.Int64("realtime.event.seq", e.Seq),
		),
	)

	traced := NewEvent(d, e.Body)
	traced.Span = &Span{span: span}

	return traced
}

// CountQueued counts a subscription that the event was queued for.
func (s *Span) CountQueued() {
	s.mu.Lock()
	s.queued++
	s.mu.Unlock()
}

// FinishQueueing must be called after the last CountQueued. A span without a subscription is not
// exported.
func (s *Span) FinishQueueing() {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.allQueued = true
	switch s.queued {
	case 0:
		s.ended = true
	case s.written:
		s.endSpan(s.lastWrite)
	default:
		s.timer = time.AfterFunc(spanTimeout, s.expire)
	}
}

// expire ends the span after spanTimeout.
func (s *Span) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.endSpan(time.Now())
}

// CountWritten counts a socket that the event was written to.
func (s *Span) CountWritten(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.written++
	s.lastWrite = now
	if s.allQueued && s.written == s.queued {
		s.endSpan(now)
	}
}

// endSpan ends the span, unless it has ended already. The caller holds mu.
func (s *Span) endSpan(at time.Time) {
	if s.ended {
		return
	}

	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}

	s.span.SetAttributes(
		attribute.Int("realtime.deliveries", s.queued),
		attribute.Int("realtime.written", s.written),
	)
	s.span.End(trace.WithTimestamp(at))
}
