package ws

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The rate and the burst of log lines for closed connections.
const (
	closeLogRate  = 20 // lines per second
	closeLogBurst = 200
)

// A closeLogger logs how connections end. Each connection has a line, up to a rate. The connections
// beyond the rate are only counted, and a line gives their number.
type closeLogger struct {
	log     *slog.Logger
	limiter *rate.Limiter
	skipped atomic.Int64
}

func newCloseLogger(log *slog.Logger) *closeLogger {
	return &closeLogger{
		log:     log,
		limiter: rate.NewLimiter(closeLogRate, closeLogBurst),
	}
}

// logClose logs or counts the end of one connection.
func (l *closeLogger) logClose(s *session, code protocol.CloseCode, reason string) {
	if !l.limiter.Allow() {
		l.skipped.Add(1)
		return
	}

	frames, bytes := s.Queue.Sent()
	l.log.Info("connection ended",
		"connection", s.ID,
		"transport", s.transport.kindName(),
		"address", s.remote,
		"code", int(code),
		"reason", reason,
		"duration", time.Since(s.connectedAt).Round(time.Millisecond),
		"frames", frames,
		"bytes", bytes,
	)
}

// logSkipped logs how many connections were only counted.
func (l *closeLogger) logSkipped() {
	if l.skipped.Load() > 0 && l.limiter.Allow() {
		l.log.Info("more connections ended than are logged one by one", "count", l.skipped.Swap(0))
	}
}
