package recent

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// spanTimeout is how long an event's span waits for the last of its subscribers. Then it ends with
// what was written until then.
const spanTimeout = 5 * time.Second

// A Span is one event's way through this gateway, from the stream to the last socket: one trace
// span, however many subscribers it has. Only events of sampled traces have one.
type Span struct {
	span trace.Span

	mu        sync.Mutex // protects what follows
	queued    int        // subscriptions that it was queued for
	written   int        // sockets that it was written to
	lastWrite time.Time
	released  bool // queued is final
	ended     bool
	timer     *time.Timer
}

// WithSpan returns the event that subscribers get: e itself, or a twin with a span when the event's
// trace is sampled. The memory keeps e, so that what is sent again later is not counted.
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
		))
	twin := NewEvent(d, e.Body)
	twin.Span = &Span{span: span}
	return twin
}

// NoteQueued counts a subscription that the event was queued for.
func (s *Span) NoteQueued() {
	s.mu.Lock()
	s.queued++
	s.mu.Unlock()
}

// Release says that the event is queued for everybody. A span for nobody is not sent.
func (s *Span) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	switch s.queued {
	case 0:
		s.ended = true
	case s.written:
		s.end(s.lastWrite)
	default:
		s.timer = time.AfterFunc(spanTimeout, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.end(time.Now())
		})
	}
}

// NoteWritten counts a socket that the event was written to.
func (s *Span) NoteWritten(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written++
	s.lastWrite = now
	if s.released && s.written == s.queued {
		s.end(now)
	}
}

// end sends the span, once. The caller holds mu.
func (s *Span) end(at time.Time) {
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
