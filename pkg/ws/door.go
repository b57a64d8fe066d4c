package ws

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/origin"
)

// Door returns a listener for the HTTP server that serves the hub's Handler on path.
// When a client's first bytes are a whole handshake as clients write it, and nothing
// speaks against letting the client in, the hub takes the connection over before the
// server has parsed anything; to the server it looks as if the client had gone.
// Everything else, also whatever has to be refused, is the server's as if there were
// no door, and so are connections with TLS.
//
// What that is for: of the time that a client who comes back costs, a third was
// net/http's, and most of the garbage.
func (h *Hub) Door(ln net.Listener, path string, v Verifier) net.Listener {
	return &door{Listener: ln, hub: h, verifier: v, line: "GET " + path + " HTTP/1.1\r\n"}
}

type door struct {
	net.Listener
	hub      *Hub
	verifier Verifier
	line     string // with which handshakes begin
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, err
	}
	a := &arrival{TCPConn: tcp, door: d}
	if addr, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		from := addr.AddrPort()
		a.remote = remote(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String())
	}
	return a, err
}

// remote is a client's address, as the server and the hub want it: once, as text.
type remote string

func (remote) Network() string  { return "tcp" }
func (r remote) String() string { return string(r) }

// arrival is a connection that the HTTP server has accepted. Once the hub has taken
// it over, what the server does to it has no effect.
type arrival struct {
	*net.TCPConn
	door   *door
	remote remote
	looked bool // the first bytes have been looked at; the server reads from one goroutine at a time
	taken  atomic.Bool
}

// RemoteAddr implements net.Conn.
func (a *arrival) RemoteAddr() net.Addr { return a.remote }

// Read implements net.Conn.
func (a *arrival) Read(p []byte) (int, error) {
	if a.taken.Load() {
		return 0, io.EOF
	}
	n, err := a.TCPConn.Read(p)
	if a.looked || n == 0 || err != nil {
		return n, err
	}
	a.looked = true
	if a.door.take(a, p[:n]) {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (a *arrival) Write(p []byte) (int, error) {
	if a.taken.Load() {
		return 0, net.ErrClosed
	}
	return a.TCPConn.Write(p)
}

// Close implements net.Conn.
func (a *arrival) Close() error {
	if a.taken.Load() {
		return nil
	}
	return a.TCPConn.Close()
}

// SetDeadline implements net.Conn.
func (a *arrival) SetDeadline(t time.Time) error {
	if a.taken.Load() {
		return nil
	}
	return a.TCPConn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (a *arrival) SetReadDeadline(t time.Time) error {
	if a.taken.Load() {
		return nil
	}
	return a.TCPConn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (a *arrival) SetWriteDeadline(t time.Time) error {
	if a.taken.Load() {
		return nil
	}
	return a.TCPConn.SetWriteDeadline(t)
}

// take lets the client in, if the request is a handshake and nothing speaks against
// it. What does is looked at again, and answered, by the Handler, which counts the
// client against the accept rate then.
func (d *door) take(a *arrival, sent []byte) (taken bool) {
	h := d.hub
	hs, ok := parseHandshake(sent, d.line)
	if !ok || h.clients.isClosed() || (hs.extensions && h.deflate != nil) {
		return false
	}
	now := time.Now()
	slot := h.accept.ReserveN(now, 1)
	defer func() {
		if !taken {
			slot.CancelAt(now)
		}
	}()
	if slot.DelayFrom(now) > 0 {
		return false
	}
	if len(hs.origin) > 0 && !origin.Allowed(h.cfg.AllowedOrigins, string(hs.origin), string(hs.host)) {
		return false
	}
	var claims *auth.Claims
	if len(hs.authorization) > 0 {
		var err error
		if claims, err = d.verifier.Verify(h.base, auth.Bearer(string(hs.authorization))); err != nil {
			return false
		}
	}
	if h.clients.check(claims) != nil {
		return false
	}
	if a.TCPConn.SetDeadline(time.Time{}) != nil {
		return false
	}
	c := &conn{verifier: d.verifier, wire: &wire{}}
	c.wire.begin(a.TCPConn, hs.answer(), hs.ahead)
	request := goodRequests[0]
	if hs.protocol {
		request = goodRequests[1]
	}
	if err := c.accept(&shaken{wire: c.wire, header: http.Header{}}, request, websocket.CompressionDisabled); err != nil {
		return false
	}
	a.taken.Store(true)
	h.enter(c, claims, string(a.remote))
	return true
}

// shaken gives the library a connection on which the handshake is done. It
// implements http.ResponseWriter and http.Hijacker.
type shaken struct {
	wire   *wire
	header http.Header // nobody looks at it
}

func (s *shaken) Header() http.Header         { return s.header }
func (s *shaken) WriteHeader(int)             {}
func (s *shaken) Write(p []byte) (int, error) { return len(p), nil }

func (s *shaken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return s.wire, s.wire.buffers(), nil
}

// goodRequests are handshakes for the library, which has no other way to be told that
// there was one: without and with an offer of the subprotocol. It only reads them.
var goodRequests = func() (r [2]*http.Request) {
	for i := range r {
		r[i] = &http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
			"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
		}}
	}
	r[1].Header["Sec-Websocket-Protocol"] = []string{Subprotocol}
	return r
}()
