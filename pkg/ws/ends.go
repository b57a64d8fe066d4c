package ws

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// How many ends of connections are logged one by one.
const (
	endsPerSecond = 20
	endsAtOnce    = 200
)

// ends logs how connections end: a line for each, and in a storm how many more.
type ends struct {
	log     *slog.Logger
	limiter *rate.Limiter
	skipped atomic.Int64
}

func newEnds(log *slog.Logger) *ends {
	return &ends{log: log, limiter: rate.NewLimiter(endsPerSecond, endsAtOnce)}
}

// ended logs the end of one.
func (e *ends) ended(s *session, code closeCode, detail string) {
	if !e.limiter.Allow() {
		e.skipped.Add(1)
		return
	}
	frames, bytes := s.out.sent()
	e.log.Info("connection ended", "connection", s.id, "transport", s.transport.name(), "code", int(code), "detail", detail,
		"after", time.Since(s.since).Round(time.Millisecond), "frames", frames, "bytes", bytes)
}

// rest tells of those that had no line of their own.
func (e *ends) rest() {
	if e.skipped.Load() > 0 && e.limiter.Allow() {
		e.log.Info("more connections ended than are logged one by one", "connections", e.skipped.Swap(0))
	}
}
