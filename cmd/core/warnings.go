package main

import (
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/logging"
)

// warnUnverifiedDatabase warns if the connection to Postgres leaves this machine and does not verify
// the server's certificate. Then anybody on the way can read and change the ledger.
func warnUnverifiedDatabase(databaseURL string, log *slog.Logger) {
	if isUnverifiedDatabase(databaseURL, os.Getenv("PGSSLMODE")) {
		log.Warn("the connection to the database does not verify the server; add sslmode=verify-full to the URL",
			"database", logging.URL(databaseURL))
	}
}

// isUnverifiedDatabase reports whether connections to a server on another machine do not verify its
// certificate. defaultMode is the sslmode of a URL without one. The URL may have several hosts.
func isUnverifiedDatabase(databaseURL, defaultMode string) bool {
	scheme, rest, _ := strings.Cut(databaseURL, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return false
	}

	authority, rawQuery, _ := strings.Cut(rest, "?")
	authority, _, _ = strings.Cut(authority, "/")
	hosts := authority[strings.LastIndexByte(authority, '@')+1:]
	query, _ := url.ParseQuery(rawQuery) // the driver reports a malformed one
	if query.Get("host") != "" {
		hosts = query.Get("host")
	}
	mode := query.Get("sslmode")
	if mode == "" {
		mode = defaultMode
	}
	isVerified := mode == "verify-full" || mode == "verify-ca"
	return !isVerified && slices.ContainsFunc(strings.Split(hosts, ","), isOtherMachine)
}

// isOtherMachine reports whether a host, with or without a port, is not this machine. An empty host
// and a path are sockets of this machine.
func isOtherMachine(host string) bool {
	if host == "" || strings.HasPrefix(host, "/") {
		return false
	}
	_, _, err := net.SplitHostPort(host)
	if err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "5432")
	}
	return !httpserver.IsLoopbackAddress(host)
}
