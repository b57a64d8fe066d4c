// Package gateway puts a gateway together: the tail of the streams feeds the
// balance cache and the hub, clients come over WebSocket, balances over HTTP.
// The gateway command and core dev both run it.
package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
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

// Config is a gateway's optional settings.
type Config struct {
	Name           string           // in welcome frames. Defaults to "gateway".
	Keys           bus.Keys         // Defaults to namespace "rt", 16 partitions.
	AllowedOrigins []string         // of web pages, besides the gateway's own. Defaults to none.
	Cache          cache.Config     // of balances; Keys and Registerer are set here.
	Hub            ws.Config        // limits of clients, compression; what the other fields say is set here. Defaults to the contract's.
	TailBlock      time.Duration    // how long a read of the streams waits, and a stop with it. Defaults to 500 ms.
	DrainDelay     time.Duration    // between /readyz turning and the end of connections. Defaults to none.
	DrainWindow    time.Duration    // clients that are sent away come back spread over it. Defaults to 10 s; negative: at once.
	StopTimeout    time.Duration    // for requests under way. Defaults to 10 s.
	CloseTimeout   time.Duration    // for clients to take their leave. Defaults to 3 s.
	Logger         *slog.Logger     // Defaults to slog.Default().
	Observe        func(tail.Batch) // sees each batch before clients do. Defaults to nobody.
	Tracer         trace.Tracer     // Defaults to no traces.
}

func (c Config) withDefaults() Config {
	c.Keys = c.Keys.WithDefaults()
	c.Name = cmp.Or(c.Name, "gateway")
	c.DrainWindow = cmp.Or(c.DrainWindow, 10*time.Second)
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 3*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// tailPause is the wait between two reads of the streams under full load. A read costs Redis and the
// gateway much the same for one entry and for forty.
const tailPause = 2 * time.Millisecond

// Gateway is the parts of one.
type Gateway struct {
	cfg      Config
	verifier *auth.Verifier
	core     *coreclient.Client
	tail     *tail.Tail
	cache    *cache.Balances
	hub      *ws.Hub
	layout   *redisconn.Watch
	control  *control
	admin    *httpserver.Admin
	mux      *http.ServeMux
	balances *prometheus.CounterVec
	complain rate.Sometimes // of the core's streams

	lost      chan struct{} // holds one: entries may have been missed
	draining  chan struct{} // closed when the clients are to be sent away
	drainOnce sync.Once
}

// New makes a gateway on the given Redis, which reads from the core what Redis
// lacks. It fails when Redis is laid out differently.
func New(ctx context.Context, rdb redis.UniversalClient, core *coreclient.Client, v *auth.Verifier, cfg Config) (*Gateway, error) {
	cfg = cfg.withDefaults()
	g := &Gateway{cfg: cfg, verifier: v, core: core, admin: httpserver.NewAdmin(), mux: http.NewServeMux(), draining: make(chan struct{}), lost: make(chan struct{}, 1)}
	g.complain.Interval = time.Minute
	g.layout = redisconn.NewWatch(rdb, cfg.Keys, redisconn.WatchConfig{Logger: cfg.Logger, Returned: func(context.Context) { g.mayHaveLost() }})
	if err := g.layout.Start(ctx); err != nil {
		return nil, err
	}
	reg := g.admin.Registry
	g.tail = tail.New(rdb, tail.Config{
		Keys: cfg.Keys, Block: cfg.TailBlock, Pause: tailPause, Reuse: cfg.Observe == nil, Lost: g.lostSome, Logger: cfg.Logger, Registerer: reg,
	})
	cfg.Cache.Keys, cfg.Cache.Registerer, cfg.Cache.Current = cfg.Keys, reg, g.tail.Reading
	g.cache = cache.New(rdb, cfg.Cache)
	hub := cfg.Hub
	hub.Current = g.tail.Reading
	hub.Gateway = cfg.Name
	hub.CloseTimeout = cfg.CloseTimeout
	hub.CheckOrigin = func(r *http.Request) bool {
		return origin.Allowed(cfg.AllowedOrigins, r.Header.Get("Origin"), r.Host)
	}
	hub.WriteError = writeProblem
	hub.Logger, hub.Registerer, hub.Tracer = cfg.Logger, reg, cfg.Tracer
	g.hub = ws.NewHub(hub, g.cache, core)
	g.balances = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_balance_requests_total", Help: "Balances asked for over HTTP, by where the answer came from.",
	}, []string{"source"})
	reg.MustRegister(g.balances)
	g.control = newControl(rdb, cfg.Keys, g.hub, cfg.Logger, reg, g.apply)
	g.routes()
	g.checks()
	g.admins()
	return g, nil
}

// Handle adds a page of the caller's own. Call it before serving.
func (g *Gateway) Handle(pattern string, h http.Handler) { g.mux.Handle(pattern, h) }

// Ready is closed once the streams have been read up to now.
func (g *Gateway) Ready() <-chan struct{} { return g.tail.CaughtUp() }

// Stages are the running parts, in the order in which they stop: readiness
// turns, clients are sent away, requests finish, the tail ends.
func (g *Gateway) Stages(public, admin net.Listener) []func(context.Context) error {
	server := httpserver.Config{StopTimeout: g.cfg.StopTimeout, Logger: g.cfg.Logger}
	return []func(context.Context) error{
		g.drain,
		g.hub.Run,
		func(ctx context.Context) error {
			return httpserver.Serve(ctx, public, httpserver.Recover(g.mux, g.cfg.Logger), server)
		},
		g.runTail,
		g.runRecheck,
		g.control.run,
		g.layout.Run,
		g.verifier.Run,
		func(ctx context.Context) error {
			server := server
			server.WriteTimeout = 5 * time.Minute // a profile takes as long as it was asked to
			server.StopTimeout = time.Second
			return httpserver.Serve(ctx, admin, httpserver.Recover(g.admin, g.cfg.Logger), server)
		},
	}
}

// drain sends the clients away when the process is to stop, or an administrator
// says so: /readyz turns first.
func (g *Gateway) drain(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-g.draining:
	}
	g.admin.Drain()
	g.cfg.Logger.Info("draining", "delay", g.cfg.DrainDelay)
	time.Sleep(g.cfg.DrainDelay)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.CloseTimeout)
	defer cancel()
	g.hub.Drain(leave, g.cfg.DrainWindow)
	<-ctx.Done()
	return nil
}

// startDrain has drain begin.
func (g *Gateway) startDrain() {
	g.admin.Drain()
	g.drainOnce.Do(func() { close(g.draining) })
}

// runTail reads the streams once their layout is known to be ours.
func (g *Gateway) runTail(ctx context.Context) error {
	select {
	case <-g.layout.Known():
		return g.tail.Run(ctx, g.deliver)
	case <-ctx.Done():
		return nil
	}
}

// deliver tells the cache before the clients: who hears of an event and asks for
// the balance must not get an older one.
func (g *Gateway) deliver(b tail.Batch) {
	for i := range b.Deliveries {
		g.cache.Seen(b.Deliveries[i].Account, b.Deliveries[i].Seq)
	}
	if g.cfg.Observe != nil {
		g.cfg.Observe(b)
	}
	g.hub.Deliver(b.Deliveries, b.Refill)
}

// lostSome is called before the tail goes on after an interruption: what the cache knows
// may be older than what was lost.
func (g *Gateway) lostSome() {
	g.cache.Forget()
	g.mayHaveLost()
}

// mayHaveLost has the clients rechecked soon.
func (g *Gateway) mayHaveLost() {
	select {
	case g.lost <- struct{}{}:
	default: // it will be done anyway
	}
}

// recheckDelay lets the tail read first what it has not missed. While some accounts
// cannot be checked it grows.
const (
	recheckDelay   = time.Second
	recheckLongest = 30 * time.Second
)

// runRecheck brings clients up to date whose events were lost while Redis was away:
// without it they would stay behind until their account's next event.
func (g *Gateway) runRecheck(ctx context.Context) error {
	delay := recheckDelay
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.lost:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		g.cache.Forget()
		err := g.hub.Recheck(ctx)
		if err == nil || ctx.Err() != nil {
			delay = recheckDelay
			continue
		}
		delay = min(2*delay, recheckLongest)
		g.cfg.Logger.Warn("some accounts could not be checked after redis was away; trying again", "in", delay, "err", err)
		g.mayHaveLost()
	}
}
