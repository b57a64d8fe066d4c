package logging_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/logging"
)

func TestURLHasNoSecret(t *testing.T) {
	for given, want := range map[string]string{
		"postgres://user:hunter2@db:5432/points?password=hunter2": "postgres://db:5432/points",
		"redis://:hunter2@redis:6379/0":                           "redis://redis:6379/0",
		"sqlite:/var/lib/ledger.db?x=hunter2":                     "sqlite:/var/lib/ledger.db",
		"hunter2":                                                 "(unreadable)",
		"postgres://user:hunter2 x@ho st/":                        "(unreadable)",
	} {
		if got := logging.URL(given); got != want {
			t.Errorf("URL(%q) = %q, want %q", given, got, want)
		}
	}
}

func TestFormatsAndLevels(t *testing.T) {
	for _, format := range []string{"auto", "json", "text", ""} {
		var out bytes.Buffer
		log, err := logging.New(&out, "warn", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("quiet")
		log.Warn("loud", "k", "v")
		if isJSON := json.Valid(out.Bytes()); isJSON == (format == "text") || strings.Contains(out.String(), "quiet") || !strings.Contains(out.String(), "loud") {
			t.Errorf("format %q: %s", format, out.String())
		}
	}
	if _, err := logging.New(nil, "loud", "json"); err == nil {
		t.Error("a level that is none is taken")
	}
	if _, err := logging.New(nil, "info", "xml"); err == nil {
		t.Error("a format that is none is taken")
	}
}
