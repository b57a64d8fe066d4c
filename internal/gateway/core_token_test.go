package gateway_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/streamtest"
)

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// A gateway notices by itself that the core refuses its token. It stays ready, and recovers when a
// new token is in the file.
func TestRefusedCoreToken(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	file := filepath.Join(t.TempDir(), "token")
	wrong := w.signToken("gateway", auth.ScopeHold)
	core, err := coreclient.New(w.core.URL, wrong, coreclient.Config{Timeout: time.Minute, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(core.Close)
	var log logBuffer
	started := time.Now()
	w.startGatewayWith(core, gateway.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})

	refused := func() bool {
		return streamtest.SumMetric(t, w.running.Registry(), "realtime_gateway_core_token_refused") == 1
	}
	streamtest.WaitFor(t, "the refusal", refused)
	w.awaitReadiness("degraded", func(r reply) bool {
		text, _ := r.checks()["core_token"].(string)
		return r.status == http.StatusOK && strings.Contains(text, "write a new token to "+file)
	})
	const line = "the gateway's token for the core must be renewed"
	streamtest.WaitFor(t, "the log", func() bool { return log.count(line) > 0 })

	err = os.WriteFile(file, []byte(w.signToken("gateway", auth.ScopeRead)), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w.awaitReadiness("ready", func(r reply) bool {
		return r.status == http.StatusOK && r.checks()["core_token"] == "ok" && r.checks()["core"] == "ok"
	})
	if refused() {
		t.Error("got 1 for realtime_gateway_core_token_refused, want 0 with the new token")
	}
	if n := log.count(line); n > 1+int(time.Since(started)/time.Minute) {
		t.Errorf("got %d log lines, want at most one a minute", n)
	}
}
