package ws

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// How many closed connections have a log line of their own.
const (
	loggedPerSecond = 20
	loggedAtOnce    = 200
)

// closeLogger logs how connections end: each with a line, or in a storm how many more.
type closeLogger struct {
	log     *slog.Logger
	limiter *rate.Limiter
	skipped atomic.Int64
}

func newCloseLogger(log *slog.Logger) *closeLogger {
	return &closeLogger{log: log, limiter: rate.NewLimiter(loggedPerSecond, loggedAtOnce)}
}

// logClose logs the end of one connection, or counts it.
func (l *closeLogger) logClose(s *session, code protocol.CloseCode, detail string) {
	if !l.limiter.Allow() {
		l.skipped.Add(1)
		return
	}
	frames, bytes := s.queue.Sent()
	l.log.Info("connection ended",
		"connection", s.id, "transport", s.transport.kindName(), "code", int(code), "detail", detail,
		"after", time.Since(s.since).Round(time.Millisecond), "frames", frames, "bytes", bytes)
}

// logSkipped logs how many connections were only counted.
func (l *closeLogger) logSkipped() {
	if l.skipped.Load() > 0 && l.limiter.Allow() {
		l.log.Info("more connections ended than are logged one by one", "connections", l.skipped.Swap(0))
	}
}
