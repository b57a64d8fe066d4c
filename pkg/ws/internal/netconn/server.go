package netconn

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// Config configures a Server. All fields except Compression are required.
type Config struct {
	Subprotocol     string        // offered in handshakes
	MaxMessageBytes int           // maximum size of a client message
	MessageTimeout  time.Duration // maximum time from the start to the end of a client message
	WriteTimeout    time.Duration // maximum time of one write to a client
	Compression     bool          // compress messages for clients that offer it
	Writers         int           // number of loops that write, and of compressors

	// Go runs f in a goroutine that may wait for a client. It returns false without running f when
	// the server is stopping.
	Go func(f func()) bool
	// HandedOver is called when a socket does not accept a whole write at once, so that a goroutine
	// of the connection writes the rest.
	HandedOver func()
}

// A Server accepts connections and writes to them.
type Server struct {
	cfg         Config
	loops       []*loop
	nextLoop    atomic.Uint32
	compressors *compressors // nil: compression is off
}

// NewServer returns a server. It starts no goroutines: Run does.
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

// Run writes to the connections until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, l := range s.loops {
		g.Go(func() error { return l.runPasses(ctx) })
	}

	return g.Wait()
}

// Accept upgrades the request to a WebSocket. It does not send or read anything on the WebSocket.
// The error is an *AcceptError, and then no response was written.
func (s *Server) Accept(
	w http.ResponseWriter, r *http.Request, queue *Queue, owner Owner,
) (*Conn, error) {
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
		CompressionMode:    mode, // of client messages; the library writes no messages here
		OnPingReceived:     c.allowControl,
		OnPongReceived: func(ctx context.Context, payload []byte) {
			c.allowControl(ctx, payload)
		},
	})

	if err != nil {
		return nil, hijack.acceptError()
	}

	ws.SetReadLimit(-1) // readAll has the limit, so that the hub chooses the close code
	c.ws = ws
	if w.Header().Get("Sec-WebSocket-Extensions") != "" {
		c.compressors = s.compressors
	}

	return c, nil
}
