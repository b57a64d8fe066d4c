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

// Each end has a line with its code and counts. In a storm most are only counted, and none
// is forgotten.
func TestEndsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		e := newCloseLogger(slog.New(slog.NewJSONHandler(&out, nil)))
		k := newSink(NewHub(Config{}, nil, nil), &Identity{Subject: "user:u1"})
		k.session.enqueue(netconn.Item{Frame: []byte("12345")})
		k.flushQueue()
		const storm = 1000
		for range storm {
			e.logClose(k.session, protocol.CloseRestart, "why")
		}
		e.logSkipped() // too soon
		<-time.After(time.Second)
		e.logSkipped()
		e.logSkipped() // nothing to tell
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != loggedAtOnce+1 {
			t.Fatalf("%d lines", len(lines))
		}
		var first struct {
			Connection, Transport, Detail string
			Code, Frames, Bytes           int
		}
		var last struct{ Connections int }
		if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(lines[loggedAtOnce]), &last); err != nil {
			t.Fatal(err)
		}
		if first.Connection != k.session.id || first.Transport != "sink" || first.Code != 1012 || first.Detail != "why" || first.Frames != 1 || first.Bytes != 5 {
			t.Errorf("%+v", first)
		}
		if last.Connections != storm-loggedAtOnce {
			t.Errorf("%d more were counted", last.Connections)
		}
	})
}
