package ws

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// How many ends of connections are logged one by one.
const (
	loggedPerSecond = 20
	loggedAtOnce    = 200
)

// ends logs how connections end: a line for each, and in a storm how many more.
type closeLogger struct {
	log     *slog.Logger
	limiter *rate.Limiter
	skipped atomic.Int64
}

func newCloseLogger(log *slog.Logger) *closeLogger {
	return &closeLogger{log: log, limiter: rate.NewLimiter(loggedPerSecond, loggedAtOnce)}
}

// ended logs the end of one.
func (e *closeLogger) logClose(s *session, code protocol.CloseCode, detail string) {
	if !e.limiter.Allow() {
		e.skipped.Add(1)
		return
	}
	frames, bytes := s.sendQueue.sent()
	e.log.Info("connection ended", "connection", s.id, "transport", s.transport.name(), "code", int(code), "detail", detail,
		"after", time.Since(s.since).Round(time.Millisecond), "frames", frames, "bytes", bytes)
}

// rest tells of those that had no line of their own.
func (e *closeLogger) logSkipped() {
	if e.skipped.Load() > 0 && e.limiter.Allow() {
		e.log.Info("more connections ended than are logged one by one", "connections", e.skipped.Swap(0))
	}
}
