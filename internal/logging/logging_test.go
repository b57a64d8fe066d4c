package logging_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/logging"
)

func TestURLHasNoSecret(t *testing.T) {
	for name, tc := range map[string]struct{ url, want string }{
		"postgres":    {"postgres://user:hunter2@db:5432/points?password=hunter2", "postgres://db:5432/points"},
		"redis":       {"redis://:hunter2@redis:6379/0", "redis://redis:6379/0"},
		"sqlite":      {"sqlite:/var/lib/ledger.db?x=hunter2", "sqlite:/var/lib/ledger.db"},
		"no URL":      {"hunter2", "(unreadable)"},
		"invalid URL": {"postgres://user:hunter2 x@ho st/", "(unreadable)"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := logging.URL(tc.url); got != tc.want {
				t.Errorf("URL(%q): got %q, want %q", tc.url, got, tc.want)
			}
		})
	}
}

func TestNewWritesFormatAndLevel(t *testing.T) {
	for format, wantJSON := range map[string]bool{"auto": true, "json": true, "text": false, "": true} {
		t.Run("format "+format, func(t *testing.T) {
			var out bytes.Buffer
			log, err := logging.New(&out, "warn", format)
			if err != nil {
				t.Fatal(err)
			}
			log.Info("below the level")
			log.Warn("at the level", "key", "value")
			if got := json.Valid(out.Bytes()); got != wantJSON {
				t.Errorf("JSON: got %v, want %v: %s", got, wantJSON, out.String())
			}
			if strings.Contains(out.String(), "below the level") {
				t.Errorf("got a line below the level: %s", out.String())
			}
			if !strings.Contains(out.String(), "at the level") {
				t.Errorf("got no line at the level: %s", out.String())
			}
		})
	}
}

func TestNewRefusesUnknownValues(t *testing.T) {
	if _, err := logging.New(nil, "loud", "json"); err == nil {
		t.Error("level loud: got no error")
	}
	if _, err := logging.New(nil, "info", "xml"); err == nil {
		t.Error("format xml: got no error")
	}
}
