package ws

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// spanPatience is how long an event's span waits for the last of its subscribers.
// Beyond it the span ends with what was written until then.
const spanPatience = 5 * time.Second

// deliverySpan is one event's way through this gateway, from the stream to the last
// socket: one span, however many subscribers it has. Only events of sampled traces
// have one.
type deliverySpan struct {
	span trace.Span

	mu       sync.Mutex // protects what follows
	queued   int        // for subscriptions
	written  int        // to sockets
	last     time.Time  // the last write
	released bool       // Deliver is done with it: queued is final
	ended    bool
	timer    *time.Timer
}

// traced returns the event that subscribers get: e itself, or a twin with a span
// when the event's trace is sampled. The memory for resume keeps e, so that what is
// sent again later is not counted.
func (h *Hub) traced(e *event, d *bus.Delivery) *event {
	if h.cfg.Tracer == nil || d.TraceParent == "" {
		return e
	}
	parent := bus.SpanContext(d.TraceParent)
	if !parent.IsSampled() {
		return e
	}
	start := time.Now()
	if e.millis > 0 && e.millis < start.UnixMilli() {
		start = time.UnixMilli(e.millis)
	}
	_, span := h.cfg.Tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "deliver",
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(start), trace.WithAttributes(
			attribute.String("messaging.system", "redis"), attribute.String("realtime.event.type", e.typ), attribute.Int64("realtime.event.seq", e.seq)))
	twin := newEvent(d, e.body)
	twin.span = &deliverySpan{span: span}
	return twin
}

func (s *deliverySpan) queue() {
	s.mu.Lock()
	s.queued++
	s.mu.Unlock()
}

// release says that the event is queued for everybody. A span for nobody is not
// worth sending.
func (s *deliverySpan) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	switch s.queued {
	case 0:
		s.ended = true
	case s.written:
		s.end(s.last)
	default:
		s.timer = time.AfterFunc(spanPatience, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.end(time.Now())
		})
	}
}

func (s *deliverySpan) wrote(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written++
	s.last = now
	if s.released && s.written == s.queued {
		s.end(now)
	}
}

// end sends the span, once. The caller holds mu.
func (s *deliverySpan) end(at time.Time) {
	if s.ended {
		return
	}
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.span.SetAttributes(attribute.Int("realtime.deliveries", s.queued), attribute.Int("realtime.written", s.written))
	s.span.End(trace.WithTimestamp(at))
}

// wroteSpans tells the spans of what was written.
func wroteSpans(items []item) {
	now := time.Now()
	for i := range items {
		if e := items[i].event; e != nil && e.span != nil {
			e.span.wrote(now)
		}
	}
}
