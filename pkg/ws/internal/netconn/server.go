package netconn

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// Config sets up a Server. All fields but Compression and HandedOver are required.
type Config struct {
	Subprotocol     string        // offered in handshakes
	MaxMessageBytes int           // of a client's message
	MessageTimeout  time.Duration // for a message that a client has begun
	WriteTimeout    time.Duration // longest wait for a client to take what was sent
	Compression     bool          // compress messages for clients that offer it
	Writers         int           // loops that write, and compressors

	// Go runs f in a goroutine that may wait for a client. It returns false, and does not, when no
	// more are to be started.
	Go func(f func()) bool
	// HandedOver is called when a write would have waited for a client and goes to a goroutine of
	// its own.
	HandedOver func()
}

// A Server accepts connections and writes to them.
type Server struct {
	cfg         Config
	loops       []*loop
	nextLoop    atomic.Uint32
	compressors *compressors // nil: compression is off
}

// NewServer makes a server. It starts nothing: Run does.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg}
	if cfg.Compression {
		s.compressors = newCompressors(cfg.Writers)
	}
	for range cfg.Writers {
		s.loops = append(s.loops, newLoop())
	}
	return s
}

// Run writes to the connections until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, l := range s.loops {
		g.Go(func() error { return l.run(ctx) })
	}
	return g.Wait()
}

// Accept makes a WebSocket of the request. Nothing is sent or read until the caller starts to. An
// error is an *AcceptError; nothing was answered then.
func (s *Server) Accept(w http.ResponseWriter, r *http.Request, queue *Queue, owner Owner) (*Conn, error) {
	next := s.nextLoop.Add(1)
	c := &Conn{
		server: s,
		owner:  owner,
		queue:  queue,
		loop:   s.loops[int(next)%len(s.loops)],
	}
	mode := websocket.CompressionDisabled
	if s.compressors != nil {
		mode = websocket.CompressionNoContextTakeover
	}
	hijack := &hijacker{ResponseWriter: w, socket: &c.socket}
	ws, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		Subprotocols:       []string{s.cfg.Subprotocol},
		InsecureSkipVerify: true, // the caller has checked the origin
		CompressionMode:    mode, // of the client's messages; the library writes none of ours
		OnPingReceived:     c.allowControl,
		OnPongReceived:     func(ctx context.Context, payload []byte) { c.allowControl(ctx, payload) },
	})
	if err != nil {
		return nil, hijack.acceptError()
	}
	ws.SetReadLimit(-1) // readAll has a limit, and a close code of ours
	c.ws = ws
	if w.Header().Get("Sec-WebSocket-Extensions") != "" {
		c.compressors = s.compressors
	}
	return c, nil
}
