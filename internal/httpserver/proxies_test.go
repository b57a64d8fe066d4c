package httpserver_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// serveAddresses serves the remote address of each request, and returns the address of the server.
func serveAddresses(t *testing.T, trusted ...string) string {
	t.Helper()
	proxies, err := httpserver.ParseTrustedProxies(trusted)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			t.Errorf("RemoteAddr: got %q, want a host and a port", r.RemoteAddr)
		}
		_, _ = io.WriteString(w, host)
	})
	go func() {
		ended <- httpserver.Serve(ctx, proxies.Listener(ln), handler, httpserver.Config{TrustedProxies: proxies})
	}()
	t.Cleanup(func() {
		cancel()
		err := <-ended
		if err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// askAddress sends the prefix and a request with the header lines. It returns the status and the
// body of the answer.
func askAddress(t *testing.T, server, prefix string, header ...string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	lines := append([]string{"GET / HTTP/1.1", "Host: test", "Connection: close"}, header...)
	_, err = io.WriteString(conn, prefix+strings.Join(lines, "\r\n")+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestClientAddress(t *testing.T) {
	local := []string{"127.0.0.1"}
	chain := []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8:ff::/48"}
	for name, tc := range map[string]struct {
		trusted []string
		header  []string
		want    string
	}{
		"no header":                {local, nil, "127.0.0.1"},
		"one proxy":                {local, []string{"X-Forwarded-For: 203.0.113.7"}, "203.0.113.7"},
		"nobody is trusted":        {nil, []string{"X-Forwarded-For: 203.0.113.7"}, "127.0.0.1"},
		"another peer is trusted":  {[]string{"10.0.0.0/8"}, []string{"X-Forwarded-For: 203.0.113.7"}, "127.0.0.1"},
		"client invents addresses": {local, []string{"X-Forwarded-For: 198.51.100.1, 127.0.0.1, 203.0.113.7"}, "203.0.113.7"},
		"two proxies":              {chain, []string{"X-Forwarded-For: 203.0.113.7, 10.1.2.3"}, "203.0.113.7"},
		"client before two proxies invents": {
			chain, []string{"X-Forwarded-For: 10.9.9.9, 203.0.113.7, 10.1.2.3"}, "203.0.113.7",
		},
		"several headers": {
			chain, []string{"X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.7", "x-forwarded-for: 10.1.2.3"}, "203.0.113.7",
		},
		"all are trusted":         {chain, []string{"X-Forwarded-For: 10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		"garbage":                 {local, []string{"X-Forwarded-For: unknown"}, "127.0.0.1"},
		"garbage before a client": {local, []string{"X-Forwarded-For: <script>, 203.0.113.7"}, "203.0.113.7"},
		"garbage before a proxy":  {chain, []string{"X-Forwarded-For: 203.0.113.7, nonsense, 10.1.2.3"}, "10.1.2.3"},
		"empty":                   {local, []string{"X-Forwarded-For:"}, "127.0.0.1"},
		"empty entry":             {local, []string{"X-Forwarded-For: 203.0.113.7,"}, "127.0.0.1"},
		"port":                    {local, []string{"X-Forwarded-For: 203.0.113.7:4711"}, "203.0.113.7"},
		"IPv6":                    {local, []string{"X-Forwarded-For: 2001:db8::7"}, "2001:db8::7"},
		"IPv6 in brackets":        {local, []string{"X-Forwarded-For: [2001:db8::7]"}, "2001:db8::7"},
		"IPv6 with a port":        {local, []string{"X-Forwarded-For: [2001:db8::7]:4711"}, "2001:db8::7"},
		"IPv6 with a zone":        {local, []string{"X-Forwarded-For: fe80::7%eth0"}, "fe80::7"},
		"IPv6 proxy":              {chain, []string{"X-Forwarded-For: 2001:db8::7, 2001:db8:ff::1"}, "2001:db8::7"},
		"mapped IPv4":             {chain, []string{"X-Forwarded-For: ::ffff:203.0.113.7, ::ffff:10.1.2.3"}, "203.0.113.7"},
		"mapped network":          {[]string{"::ffff:127.0.0.0/104"}, []string{"X-Forwarded-For: 203.0.113.7"}, "203.0.113.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, got := askAddress(t, serveAddresses(t, tc.trusted...), "", tc.header...)
			if status != http.StatusOK || got != tc.want {
				t.Errorf("got status %d, address %s, want 200, %s", status, got, tc.want)
			}
		})
	}
}

// proxyHeaderV2 returns a PROXY header of version 2 for a connection over IPv4.
func proxyHeaderV2(command byte, source [4]byte) string {
	const protocolTCPOverIPv4 = 0x11
	header := []byte("\r\n\r\n\x00\r\nQUIT\n")
	header = append(header, 0x20|command, protocolTCPOverIPv4)
	header = binary.BigEndian.AppendUint16(header, 12)
	header = append(header, source[:]...)
	header = append(header, 192, 0, 2, 1)
	header = binary.BigEndian.AppendUint16(header, 4711)
	header = binary.BigEndian.AppendUint16(header, 443)
	return string(header)
}

func TestProxyProtocol(t *testing.T) {
	const local, proxy = 0, 1 // commands
	versionTwo := proxyHeaderV2(proxy, [4]byte{203, 0, 113, 7})
	for name, tc := range map[string]struct {
		trusted []string
		prefix  string
		header  []string
		status  int
		want    string
	}{
		"version 1":       {[]string{"127.0.0.1"}, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", nil, 200, "203.0.113.7"},
		"version 1, IPv6": {[]string{"127.0.0.1"}, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", nil, 200, "2001:db8::7"},
		"version 2":       {[]string{"127.0.0.1"}, versionTwo, nil, 200, "203.0.113.7"},
		"health check":    {[]string{"127.0.0.1"}, proxyHeaderV2(local, [4]byte{203, 0, 113, 7}), nil, 200, "127.0.0.1"},
		"none":            {[]string{"127.0.0.1"}, "", nil, 200, "127.0.0.1"},
		"unknown client":  {[]string{"127.0.0.1"}, "PROXY UNKNOWN\r\n", nil, 200, "127.0.0.1"},
		"client invents X-Forwarded-For": {
			[]string{"127.0.0.1"}, versionTwo, []string{"X-Forwarded-For: 198.51.100.1"}, 200, "203.0.113.7",
		},
		"proxy before the proxy": {
			[]string{"127.0.0.1", "203.0.113.0/24"}, versionTwo, []string{"X-Forwarded-For: 198.51.100.1"}, 200, "198.51.100.1",
		},
		"nobody is trusted":             {nil, versionTwo, nil, 400, ""},
		"another peer is trusted":       {[]string{"10.0.0.0/8"}, versionTwo, nil, 400, ""},
		"version 1, another is trusted": {[]string{"10.0.0.0/8"}, "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", nil, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, got := askAddress(t, serveAddresses(t, tc.trusted...), tc.prefix, tc.header...)
			if status != tc.status {
				t.Errorf("status: got %d, want %d", status, tc.status)
			}
			if tc.status == http.StatusOK && got != tc.want {
				t.Errorf("address: got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestInvalidTrustedProxies(t *testing.T) {
	for _, text := range []string{"", "10.0.0.0/33", "example.com", "10.0.0", "*"} {
		_, err := httpserver.ParseTrustedProxies([]string{text})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q must be", text)) {
			t.Errorf("%q: got error %v, want one that names it", text, err)
		}
	}
}
