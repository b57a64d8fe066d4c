package ws

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A connection that ends has a log line. If many connections end at once, some are only counted,
// and another line has their number.
func TestCloseLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newCloseLogger(slog.New(slog.NewJSONHandler(&out, nil)))
		k := newSink(NewHub(Config{}, nil, nil), &Identity{Subject: "user:u1"})
		k.session.EnqueueItem(netconn.Item{Frame: []byte("12345")})
		k.FlushQueue()
		const closes = 1000
		for range closes {
			l.logClose(k.session, protocol.CloseRestart, "test")
		}
		l.logSkipped() // the limiter does not allow a line yet
		<-time.After(time.Second)
		l.logSkipped()
		l.logSkipped() // nothing to log

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != closeLogBurst+1 {
			t.Fatalf("lines: got %d, want %d", len(lines), closeLogBurst+1)
		}
		checkCloseLine(t, lines[0], k.session.ID)
		var last struct{ Count int }
		unmarshalLine(t, lines[closeLogBurst], &last)
		checkEqual(t, "count", last.Count, closes-closeLogBurst)
	})
}

func checkCloseLine(t *testing.T, line, id string) {
	t.Helper()
	var got struct {
		Connection string
		Transport  string
		Address    string
		Code       int
		Reason     string
		Frames     int
		Bytes      int
	}
	unmarshalLine(t, line, &got)
	checkEqual(t, "connection", got.Connection, id)
	checkEqual(t, "transport", got.Transport, "sink")
	checkEqual(t, "address", got.Address, "test")
	checkEqual(t, "code", got.Code, 1012)
	checkEqual(t, "reason", got.Reason, "test")
	checkEqual(t, "frames", got.Frames, 1)
	checkEqual(t, "bytes", got.Bytes, 5)
}

func unmarshalLine(t *testing.T, line string, v any) {
	t.Helper()
	err := json.Unmarshal([]byte(line), v)
	if err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
}
