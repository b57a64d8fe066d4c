// Package logging makes the logger of both commands: JSON lines for machines,
// coloured text on a terminal. What it is given to log must hold no secret;
// URL strips the passwords out of connection strings.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// New logs to w at the level (debug, info, warn, error) and in the format
// (json, text, or auto: text when w is a terminal).
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	terminal := isTerminal(w)
	switch format {
	case "json":
	case "text":
		return slog.New(text(w, l, terminal)), nil
	case "auto", "":
		if terminal {
			return slog.New(text(w, l, true)), nil
		}
	default:
		return nil, fmt.Errorf("log format %q: want auto, json or text", format)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
}

func text(w io.Writer, l slog.Level, colour bool) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: time.TimeOnly, NoColor: !colour})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// URL returns a connection string fit for a log: without user information and
// without parameters, which may hold a password too.
func URL(s string) string {
	if rest, ok := strings.CutPrefix(s, "sqlite:"); ok {
		path, _, _ := strings.Cut(rest, "?")
		return "sqlite:" + path
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return "(unreadable)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
