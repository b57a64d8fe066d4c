// Package logging makes the logger of both commands: JSON lines for machines, coloured text on a
// terminal. Callers must not log secrets. URL removes them from connection strings.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// New returns a logger that writes to w. The level is debug, info, warn or error. The format is
// json, text, or auto, which is text if w is a terminal and json otherwise. An empty format is auto.
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(level))
	if err != nil {
		return nil, fmt.Errorf("log level must be debug, info, warn or error, got %q", level)
	}

	terminal := isTerminal(w)
	switch format {
	case "json":
		return slog.New(newJSONHandler(w, l)), nil
	case "text":
		return slog.New(newTextHandler(w, l, terminal)), nil
	case "auto", "":
		if terminal {
			return slog.New(newTextHandler(w, l, true)), nil
		}
		return slog.New(newJSONHandler(w, l)), nil
	}
	return nil, fmt.Errorf("log format must be auto, json or text, got %q", format)
}

func newJSONHandler(w io.Writer, l slog.Level) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})
}

func newTextHandler(w io.Writer, l slog.Level, colour bool) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{
		Level:      l,
		TimeFormat: time.TimeOnly,
		NoColor:    !colour,
	})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// URL returns a connection string without user information and without parameters, which may both
// contain a password.
func URL(s string) string {
	if rest, ok := strings.CutPrefix(s, "sqlite:"); ok {
		path, _, _ := strings.Cut(rest, "?")
		return "sqlite:" + path
	}

	s, others := cutOtherHosts(s)
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return "(unreadable)"
	}

	u.User = nil
	u.RawQuery = ""
	u.Fragment = ""
	u.Host += others
	return u.String()
}

// otherHosts matches the hosts after the first one in a URL of Postgres or Redis with several hosts.
// url.Parse refuses them.
var otherHosts = regexp.MustCompile(`^(\w+://[^/?#,]*)((?:,[\w.-]+(?::\d+)?)+)($|[/?].*$)`)

// cutOtherHosts removes the hosts after the first one from a URL and returns them.
func cutOtherHosts(s string) (rest, others string) {
	parts := otherHosts.FindStringSubmatch(s)
	if parts == nil {
		return s, ""
	}

	return parts[1] + parts[3], parts[2]
}
