package ws

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config sets the limits of a Hub. Its zero value works.
type Config struct {
	Gateway string // this gateway's name in welcome frames. Defaults to "gateway".

	// CheckOrigin reports whether a web page may connect. It is asked for requests that have an
	// Origin, as all of browsers have: a page of another site must not open a connection in its
	// visitor's name. Defaults to pages of the request's own host.
	CheckOrigin func(r *http.Request) bool
	// WriteError answers a request that gets no connection. The headers Retry-After,
	// WWW-Authenticate and Allow are set already. Defaults to plain text.
	WriteError func(w http.ResponseWriter, r *http.Request, e *HTTPError)

	HeartbeatInterval time.Duration // between WebSocket pings; a peer silent for two is dropped. Defaults to 25 s.
	AuthTimeout       time.Duration // for the first frame to bring a token. Defaults to 5 s.
	MessageTimeout    time.Duration // for a message that a client has begun, so that nobody sends fragments for ever. Defaults to 10 s.
	ExpiryNotice      time.Duration // token_expiring comes that long before the token's end. Defaults to 30 s.
	WriteTimeout      time.Duration // longest wait for a client to take what was sent. Defaults to 20 s.
	CloseTimeout      time.Duration // how long Run waits for connections to close when it ends. Defaults to 1 s.

	MaxFrameBytes    int // of an inbound message. Defaults to 16 KiB.
	MaxBadFrames     int // frames that are no JSON or have an unknown op; that many close the connection. Defaults to 5.
	MaxSubscriptions int // of a connection. Defaults to 32.
	MaxAccounts      int // of a subscription. Defaults to 64.
	MaxFilterValues  int // of each filter list. Defaults to 32.
	FrameRate        int // client frames a second. Defaults to 20.
	FrameBurst       int // client frames at once. Defaults to 40.

	QueueEvents int // frames waiting for one connection. Defaults to 1024.
	QueueBytes  int // bytes waiting for one connection. Defaults to 1 MiB.

	// Compression has messages compressed for the clients that offer permessage-deflate (RFC 7692), each message by itself.
	// A compressor takes 1 MB; there are as many as Writers. A client's message takes 45 KB more while it is read, and
	// MaxFrameBytes bounds what comes out. Defaults to false: it costs as much as all else that is done for a single event.
	Compression bool

	MaxConnections           int // of this gateway. Defaults to 100,000.
	MaxConnectionsPerAccount int // whose tokens name the same account. Defaults to 64.
	AcceptRate               int // new connections a second, and at once. Defaults to 10,000.

	MemoryEvents int // recent events kept for resume. Defaults to 131,072.
	MemoryBytes  int // and their size, roughly. Defaults to 128 MiB.
	MaxReplay    int // events replayed to one account of a subscription; beyond: resync. Defaults to 10,000.

	FetchTimeout time.Duration // for one call of Snapshots or History. Defaults to 5 s.
	Fetches      int           // calls of History at the same time. Defaults to 32.
	// Current tells whether Deliver is called at the moment for all that happens to an account. While it is not, nobody
	// resumes from memory. It must not wait. Defaults to always.
	Current  func(account string) bool
	RetryFor time.Duration // how long a gap may stay open while neither history nor state can be had. Defaults to 30 s.

	Writers int // goroutines that write to all connections. Defaults to GOMAXPROCS.

	Logger     *slog.Logger          // Defaults to one that discards.
	Registerer prometheus.Registerer // Defaults to none: metrics are counted and not published.
	Tracer     trace.Tracer          // Defaults to none: no traces.
}

func (c Config) withDefaults() Config {
	set(&c.Gateway, "gateway")
	set(&c.HeartbeatInterval, 25*time.Second)
	set(&c.AuthTimeout, 5*time.Second)
	set(&c.MessageTimeout, 10*time.Second)
	set(&c.ExpiryNotice, 30*time.Second)
	set(&c.WriteTimeout, 20*time.Second)
	set(&c.CloseTimeout, time.Second)
	set(&c.MaxFrameBytes, 16<<10)
	set(&c.MaxBadFrames, 5)
	set(&c.MaxSubscriptions, 32)
	set(&c.MaxAccounts, 64)
	set(&c.MaxFilterValues, 32)
	set(&c.FrameRate, 20)
	set(&c.FrameBurst, 40)
	set(&c.QueueEvents, 1024)
	set(&c.QueueBytes, 1<<20)
	set(&c.MaxConnections, 100_000)
	set(&c.MaxConnectionsPerAccount, 64)
	set(&c.AcceptRate, 10_000)
	set(&c.MemoryEvents, 131_072)
	set(&c.MemoryBytes, 128<<20)
	set(&c.MaxReplay, 10_000)
	set(&c.FetchTimeout, 5*time.Second)
	set(&c.Fetches, 32)
	set(&c.RetryFor, 30*time.Second)
	set(&c.Writers, runtime.GOMAXPROCS(0))
	if c.CheckOrigin == nil {
		c.CheckOrigin = checkSameOrigin
	}
	if c.WriteError == nil {
		c.WriteError = writeText
	}
	if c.Current == nil {
		c.Current = func(string) bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// Snapshots gives balances from near by. pkg/cache has one.
type Snapshots interface {
	// Get returns the account's balance, never older than the newest event that was
	// passed to Hub.Deliver before the call. ok is false when it is not known here.
	Get(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
}

// History gives what only the ledger knows for certain.
type History interface {
	// Events returns the account's deliveries with seq greater than after, oldest
	// first, at most limit, with their routing fields (Type, Reason, Feature,
	// Amount) and the account's own view as Data or View; and the account's newest
	// seq, 0 for an account that the ledger does not know.
	Events(ctx context.Context, account string, after int64, limit int) (events []bus.Delivery, last int64, err error)
	// Balance returns the account's balance. ok is false when the ledger does not
	// know the account.
	Balance(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
}
