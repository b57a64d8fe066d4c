package httpserver

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/redroomrewards/realtime/internal/problem"
)

// isLoopbackRequest reports whether a request came to a loopback address, from a program that used
// the name of one.
func isLoopbackRequest(r *http.Request) bool {
	address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		return false
	}
	host := hostOf(r)
	ip := net.ParseIP(host)
	return isLocalhost(host) || ip != nil && ip.IsLoopback()
}

// IsLoopbackAddress reports whether a listener on the address, host:port, is reachable only from
// this machine.
func IsLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return isLocalhost(host) || ip != nil && ip.IsLoopback()
}

// IsInsecureURL reports whether a URL leads to another machine without TLS.
func IsInsecureURL(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" {
		return false
	}
	return !IsLoopbackAddress(net.JoinHostPort(u.Hostname(), "80"))
}

// requireOwnHost refuses requests whose Host is a name of another machine. A web
// page sends them if its name was made to point to this machine (DNS rebinding). It could read the
// answers.
func requireOwnHost(next http.Handler) http.Handler {
	hostname, _ := os.Hostname() // on failure, there is no such name
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r)
		isOwn := net.ParseIP(host) != nil || isLocalhost(host) || strings.EqualFold(host, hostname) && host != ""
		if !isOwn {
			problem.Write(w, problem.New(http.StatusMisdirectedRequest, "misdirected_request", "",
				"the Host header must be an IP address, localhost or the name of this machine"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf returns the host that a request names, without its port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.Trim(host, "[]")
}

func isLocalhost(host string) bool {
	return strings.EqualFold(host, "localhost")
}
