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

// Config sets the limits of a Hub. The zero value is valid.
type Config struct {
	// Gateway is the name of this gateway in welcome frames. Defaults to "gateway".
	Gateway string

	// CheckOrigin reports whether a request may connect. It is called for requests with an Origin
	// header, which every browser sends: a page of another site must not open a connection in the
	// name of its visitor. Defaults to allowing pages of the request's own host.
	CheckOrigin func(r *http.Request) bool
	// WriteError writes the response to a request that gets no connection. The headers Retry-After,
	// WWW-Authenticate and Allow are already set. Defaults to plain text.
	WriteError func(w http.ResponseWriter, r *http.Request, e *HTTPError)

	// HeartbeatInterval is the time between WebSocket pings. A connection without data from the
	// client for two intervals is closed. Defaults to 25 s.
	HeartbeatInterval time.Duration
	// AuthTimeout is the maximum time until a token arrives. Defaults to 5 s.
	AuthTimeout time.Duration
	// MessageTimeout is the maximum time from the start to the end of a client message, so that no
	// client sends fragments without end. Defaults to 10 s.
	MessageTimeout time.Duration
	// ExpiryNotice is the maximum time between the token_expiring frame and the end of the token.
	// It is half of the token's remaining time when that is less. Defaults to 30 s.
	ExpiryNotice time.Duration
	// WriteTimeout is the maximum time of one write to a client. Defaults to 20 s.
	WriteTimeout time.Duration
	// CloseTimeout is the maximum time that Run waits for connections to close when it ends.
	// Defaults to 1 s.
	CloseTimeout time.Duration

	// MaxFrameBytes is the maximum size of a client message. Defaults to 16 KiB.
	MaxFrameBytes int
	// MaxBadFrames is the number of malformed frames that closes a connection. Defaults to 5.
	MaxBadFrames int
	// MaxSubscriptions is the maximum number of subscriptions of a connection. Defaults to 32.
	MaxSubscriptions int
	// MaxAccounts is the maximum number of accounts of a subscription. Defaults to 64.
	MaxAccounts int
	// MaxFilterValues is the maximum length of each filter list. Defaults to 32.
	MaxFilterValues int
	// FrameRate is the maximum number of client frames per second. Defaults to 20.
	FrameRate int
	// FrameBurst is the maximum number of client frames at once. Defaults to 40.
	FrameBurst int

	// QueueEvents is the maximum number of frames queued for one connection. Defaults to 1024.
	QueueEvents int
	// QueueBytes is the maximum size of the frames queued for one connection. Defaults to 1 MiB.
	QueueBytes int

	// Compression enables compression for clients that offer permessage-deflate (RFC 7692). Each
	// message is compressed independently. A compressor takes 1 MB, and there are as many as
	// Writers. A client message takes 45 KB more while it is read, and MaxFrameBytes limits its
	// uncompressed size. Defaults to false: compressing a single event costs as much as all other
	// work for it.
	Compression bool

	// MaxConnections is the maximum number of connections of this gateway. Defaults to 100,000.
	MaxConnections int
	// MaxConnectionsPerAccount is the maximum number of connections whose tokens name the same
	// account. Defaults to 64.
	MaxConnectionsPerAccount int
	// MaxConnectionsPerAddress is the maximum number of connections of one address, as given by
	// http.Request.RemoteAddr. An IPv6 client has a network of 64 bits, so that counts as one
	// address. Loopback addresses are not limited. Defaults to 1024.
	MaxConnectionsPerAddress int
	// AcceptRate is the maximum number of new connections per second, and at once. Defaults to
	// 10,000.
	AcceptRate int

	// MemoryEvents is the number of recent events that are kept for resume. Defaults to 131,072.
	MemoryEvents int
	// MemoryBytes is the estimated size of the events that are kept. Defaults to 128 MiB.
	MemoryBytes int
	// MaxReplay is the maximum number of events that are replayed to one account of a subscription.
	// A client that missed more gets a resync. Defaults to 10,000.
	MaxReplay int

	// FetchTimeout is the maximum time of one call of Snapshots or History. Defaults to 5 s.
	FetchTimeout time.Duration
	// Fetches is the maximum number of concurrent calls of History. Defaults to 32.
	Fetches int
	// Current reports whether Deliver currently receives all events of the account. While it
	// returns false, clients do not resume from memory. It must not wait. Defaults to true for all
	// accounts.
	Current func(account string) bool
	// CaughtUp is closed when Deliver has received the events from before the start. Subscriptions to
	// ["*"] wait for it, up to FetchTimeout. Defaults to a closed channel.
	CaughtUp <-chan struct{}
	// RetryFor is the maximum time for which a gap stays open while neither history nor state is
	// available. After that the connection is closed. Defaults to 30 s.
	RetryFor time.Duration

	// Writers is the number of goroutines that write to all connections. Defaults to GOMAXPROCS.
	Writers int

	// Logger receives the log. Defaults to a logger that discards everything.
	Logger *slog.Logger
	// Registerer registers the metrics. Defaults to nil: metrics are counted but not published.
	Registerer prometheus.Registerer
	// Tracer creates the spans of traced events. Defaults to nil: no spans.
	Tracer trace.Tracer
}

func (c Config) withDefaults() Config {
	setDefault(&c.Gateway, "gateway")
	setDefault(&c.HeartbeatInterval, 25*time.Second)
	setDefault(&c.AuthTimeout, 5*time.Second)
	setDefault(&c.MessageTimeout, 10*time.Second)
	setDefault(&c.ExpiryNotice, 30*time.Second)
	setDefault(&c.WriteTimeout, 20*time.Second)
	setDefault(&c.CloseTimeout, time.Second)
	setDefault(&c.MaxFrameBytes, 16<<10)
	setDefault(&c.MaxBadFrames, 5)
	setDefault(&c.MaxSubscriptions, 32)
	setDefault(&c.MaxAccounts, 64)
	setDefault(&c.MaxFilterValues, 32)
	setDefault(&c.FrameRate, 20)
	setDefault(&c.FrameBurst, 40)
	setDefault(&c.QueueEvents, 1024)
	setDefault(&c.QueueBytes, 1<<20)
	setDefault(&c.MaxConnections, 100_000)
	setDefault(&c.MaxConnectionsPerAccount, 64)
	setDefault(&c.MaxConnectionsPerAddress, 1024)
	setDefault(&c.AcceptRate, 10_000)
	setDefault(&c.MemoryEvents, 131_072)
	setDefault(&c.MemoryBytes, 128<<20)
	setDefault(&c.MaxReplay, 10_000)
	setDefault(&c.FetchTimeout, 5*time.Second)
	setDefault(&c.Fetches, 32)
	setDefault(&c.RetryFor, 30*time.Second)
	setDefault(&c.Writers, runtime.GOMAXPROCS(0))

	if c.CheckOrigin == nil {
		c.CheckOrigin = checkSameOrigin
	}

	if c.WriteError == nil {
		c.WriteError = writeTextError
	}

	if c.Current == nil {
		c.Current = func(string) bool { return true }
	}

	if c.CaughtUp == nil {
		closed := make(chan struct{})
		close(closed)
		c.CaughtUp = closed
	}

	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}

	return c
}

// setDefault sets the field to value if it is zero.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Snapshots returns balances without a request to the ledger. pkg/cache has an implementation.
type Snapshots interface {
	// Get returns the account's balance. The balance includes all events that were passed to
	// Hub.Deliver before the call. ok is false when the balance is not available here.
	Get(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
	// RequireSeq says that the ledger has the account's event seq, and that clients may be shown it.
	// A later Get must not return an older balance. RequireSeq must not wait, and must not call the
	// hub.
	RequireSeq(account string, seq int64)
	// Rewind says that the account's events after seq may never have happened. A later Get must not
	// return a balance that was read before. Rewind must not wait, and must not call the hub.
	Rewind(account string, seq int64)
}

// History returns data that only the ledger has reliably.
type History interface {
	// Events returns the account's deliveries with a seq greater than after, oldest first and at
	// most limit. They have their Chain, their routing fields (Type, Reason, Feature, Amount), and
	// the account's own view as Data or View. last is the account's newest seq, or 0 for an account
	// that the ledger does not have.
	Events(
		ctx context.Context, account string, after int64, limit int,
	) (events []bus.Delivery, last int64, err error)
	// Balance returns the account's balance. ok is false when the ledger does not have the account.
	Balance(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
}
