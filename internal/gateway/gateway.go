// Package gateway runs a gateway. The tail of the streams feeds the balance cache and the hub.
// Clients connect over WebSocket or server-sent events, and read balances over HTTP. The command
// gateway and core dev both run it.
package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
	"github.com/redroomrewards/realtime/pkg/cache"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	// tailPause is the wait between two reads of the streams under full load. A read costs Redis
	// and the gateway much the same for one entry and for forty.
	tailPause = 2 * time.Millisecond

	// streamLogInterval is the least time between two log lines about streams that are not the
	// core's.
	streamLogInterval = time.Minute
)

// Config is a gateway's settings. All of them are optional.
type Config struct {
	Name           string                    // name in welcome frames. Defaults to "gateway".
	Keys           bus.Keys                  // Defaults to namespace "rt", 64 partitions.
	AllowedOrigins []string                  // origins of web pages, besides the gateway's own. Defaults to none.
	TrustedProxies httpserver.TrustedProxies // their X-Forwarded-For is the address of a client. Defaults to none.
	Cache          cache.Config              // balance cache; New sets Keys, Registerer and Current.
	Hub            ws.Config                 // limits and compression; New sets the other fields. Defaults to the contract's limits.
	TailBlock      time.Duration             // how long a read of the streams waits for entries. Defaults to 500 ms.
	DrainDelay     time.Duration             // time between /readyz turning to 503 and the first closed connection. Defaults to none.
	DrainWindow    time.Duration             // clients of a draining gateway reconnect spread over it. Defaults to 10 s; negative: at once.
	StopTimeout    time.Duration             // time for running requests to finish. Defaults to 10 s.
	CloseTimeout   time.Duration             // time for clients to complete the close handshake. Defaults to 3 s.
	OwnHostOnly    bool                      // refuse requests whose Host is a name of another machine.
	Logger         *slog.Logger              // Defaults to slog.Default().
	BehindAfter    time.Duration             // a partition whose watermark does not advance for that long is behind. Defaults to 8 s.
	Observe        func(tail.Batch)          // called with each batch before clients get it. Defaults to none.
	Tracer         trace.Tracer              // Defaults to no traces.
}

func (c Config) withDefaults() Config {
	c.Keys = c.Keys.WithDefaults()
	c.Name = cmp.Or(c.Name, "gateway")
	c.DrainWindow = cmp.Or(c.DrainWindow, 10*time.Second)
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 3*time.Second)
	c.BehindAfter = cmp.Or(c.BehindAfter, defaultBehindAfter)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// A Gateway delivers the events of the streams to clients.
type Gateway struct {
	cfg             Config
	verifier        *auth.Verifier
	core            *coreclient.Client
	coreBalances    *coreBalances
	coreToken       *coreToken
	tail            *tail.Tail
	cache           snapshots
	freshness       *freshness
	hub             *ws.Hub
	layout          *redisconn.Watch
	isCluster       bool // Redis is a cluster, which may be away in part
	control         *control
	admin           *httpserver.Admin
	mux             *http.ServeMux
	readers         origin.Readers
	balanceRequests *prometheus.CounterVec
	limitLog        rate.Sometimes // limits the log lines about streams that are not the core's

	recheck      chan struct{} // holds one signal: entries may have been missed
	losses       atomic.Int64  // number of times that entries may have been missed
	compared     atomic.Int64  // number of losses after which all accounts were compared
	otherStreams atomic.Bool   // the next recheck must ask the ledger

	draining  chan struct{} // closed when a drain begins
	drainOnce sync.Once
}

// New makes a gateway on the given Redis. The gateway reads from the core what Redis lacks. New
// fails when the layout of the keys in Redis is not that of cfg.Keys.
func New(ctx context.Context, rdb redis.UniversalClient, core *coreclient.Client, v *auth.Verifier, cfg Config) (*Gateway, error) {
	cfg = cfg.withDefaults()
	g := &Gateway{
		cfg:      cfg,
		verifier: v,
		core:     core,
		admin:    httpserver.NewAdmin(),
		mux:      http.NewServeMux(),
		readers: origin.Readers{
			Patterns: cfg.AllowedOrigins,
			Headers:  "Authorization, Cache-Control, Last-Event-ID",
			Exposed:  "X-Balance-Source, Retry-After",
		},
		recheck:  make(chan struct{}, 1),
		draining: make(chan struct{}),
	}
	_, g.isCluster = rdb.(*redis.ClusterClient)
	g.coreBalances = newCoreBalances(core.Balance)
	g.coreToken = newCoreToken(core, cfg.Logger, g.admin.Registry)
	g.limitLog.Interval = streamLogInterval
	g.layout = redisconn.NewWatch(rdb, cfg.Keys, redisconn.WatchConfig{
		Logger:   cfg.Logger,
		Returned: func(context.Context) { g.requestRecheck() },
		ReadOnly: true,
	})
	err := g.layout.Start(ctx)
	if err != nil {
		return nil, err
	}

	g.tail = g.newTail(rdb)
	g.freshness = newFreshness(rdb, cfg, core.Ping, g.admin.Registry)
	g.cache = snapshots{Balances: g.newCache(rdb), freshness: g.freshness}
	g.hub = g.newHub()
	g.control = newControl(rdb, cfg.Keys, g.hub, cfg.Logger, g.admin.Registry, g.applyMessage)
	g.balanceRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "realtime_gateway_balance_requests_total",
		Help: "Balance requests over HTTP, by the source of the answer.",
	}, []string{"source"})
	g.admin.Registry.MustRegister(g.balanceRequests)
	g.registerRoutes()
	g.registerChecks()
	g.registerAdminCalls()
	return g, nil
}

func (g *Gateway) newTail(rdb redis.UniversalClient) *tail.Tail {
	return tail.New(rdb, tail.Config{
		Keys:       g.cfg.Keys,
		Block:      g.cfg.TailBlock,
		Pause:      tailPause,
		Reuse:      g.cfg.Observe == nil,
		Lost:       g.handleLostEntries,
		Logger:     g.cfg.Logger,
		Registerer: g.admin.Registry,
	})
}

func (g *Gateway) newCache(rdb redis.UniversalClient) *cache.Balances {
	cfg := g.cfg.Cache
	cfg.Keys = g.cfg.Keys
	cfg.Registerer = g.admin.Registry
	cfg.Current = g.tail.Reading
	return cache.New(rdb, cfg)
}

func (g *Gateway) newHub() *ws.Hub {
	cfg := g.cfg.Hub
	cfg.Gateway = g.cfg.Name
	cfg.Current = g.tail.Reading
	cfg.CaughtUp = g.tail.CaughtUp()
	cfg.CloseTimeout = g.cfg.CloseTimeout
	cfg.CheckOrigin = func(r *http.Request) bool {
		return origin.Allowed(g.cfg.AllowedOrigins, r.Header.Get("Origin"), r.Host)
	}
	cfg.WriteError = writeProblem
	cfg.Logger = g.cfg.Logger
	cfg.Registerer = g.admin.Registry
	cfg.Tracer = g.cfg.Tracer
	return ws.NewHub(cfg, g.cache, g.core)
}

// Handle adds a page of the caller's own. Call it before serving.
func (g *Gateway) Handle(pattern string, h http.Handler) {
	g.mux.Handle(pattern, h)
}

// Ready is closed once the entries that were published before the start have been read.
func (g *Gateway) Ready() <-chan struct{} {
	return g.tail.CaughtUp()
}

// Stages returns the running parts in the order in which they stop: /readyz turns to 503, clients
// are disconnected, requests finish, the tail stops.
func (g *Gateway) Stages(public, admin net.Listener) []func(context.Context) error {
	return []func(context.Context) error{
		g.drainHub,
		g.hub.Run,
		func(ctx context.Context) error { return g.servePublic(ctx, public) },
		g.coreBalances.run,
		g.runTail,
		g.runRecheck,
		g.freshness.run,
		g.coreToken.run,
		g.control.run,
		g.layout.Run,
		g.verifier.Run,
		func(ctx context.Context) error { return g.serveAdmin(ctx, admin) },
	}
}

func (g *Gateway) servePublic(ctx context.Context, ln net.Listener) error {
	return httpserver.Serve(ctx, ln, httpserver.Recover(g.mux, g.cfg.Logger), httpserver.Config{
		TrustedProxies: g.cfg.TrustedProxies,
		OwnHostOnly:    g.cfg.OwnHostOnly,
		StopTimeout:    g.cfg.StopTimeout,
		Logger:         g.cfg.Logger,
	})
}

func (g *Gateway) serveAdmin(ctx context.Context, ln net.Listener) error {
	cfg := httpserver.AdminConfig(g.cfg.Logger)
	cfg.OwnHostOnly = g.cfg.OwnHostOnly
	return httpserver.Serve(ctx, ln, httpserver.Recover(g.admin, g.cfg.Logger), cfg)
}

// drainHub disconnects the clients when the process stops, or when the admin API starts a drain.
// Before that, /readyz answers 503 for DrainDelay.
func (g *Gateway) drainHub(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-g.draining:
	}
	g.admin.Drain()
	g.cfg.Logger.Info("drain started", "delay", g.cfg.DrainDelay)
	time.Sleep(g.cfg.DrainDelay)

	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.CloseTimeout)
	defer cancel()
	g.hub.Drain(closing, g.cfg.DrainWindow)
	<-ctx.Done()
	return nil
}

// startDrain makes /readyz answer 503 and starts drainHub's work. Further calls do nothing.
func (g *Gateway) startDrain() {
	g.admin.Drain()
	g.drainOnce.Do(func() { close(g.draining) })
}
