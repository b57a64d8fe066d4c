package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/realtime"
)

// A stack contains the parts of a core, for the commands serve and dev.
type stack struct {
	cfg   stackConfig
	core  *realtime.Core
	api   *coreapi.API
	admin *httpserver.Admin
}

type stackConfig struct {
	databaseURL string
	rdb         redis.UniversalClient
	keys        bus.Keys
	verifier    *auth.Verifier
	maxQueue    int
	maxConns    int // connections to Postgres for commits, the relay and housekeeping
	maxReads    int // database connections for reads, and reads that run at the same time
	maxOpen     int // open connections to the HTTP API; 0: not limited
	proxies     httpserver.TrustedProxies
	origins     []string       // of web pages that may read, besides the core's own host
	ownHostOnly bool           // refuse requests whose Host is a name of another machine
	publisher   publish.Config // Keys and Registerer are set by openStack
	drainDelay  time.Duration  // time between /readyz turning to 503 and the end of new requests
	stopTimeout time.Duration  // time for running requests, and then for the publishing of their events
	tracer      trace.Tracer   // nil: none
	log         *slog.Logger
}

// openStack opens the parts. On an error it has changed nothing in the database or in Redis.
func openStack(ctx context.Context, cfg stackConfig) (*stack, error) {
	s := &stack{cfg: cfg, admin: httpserver.NewAdmin()}
	reg := s.admin.Registry
	core, err := realtime.Open(ctx, realtime.Config{
		Database:     cfg.databaseURL,
		Redis:        cfg.rdb,
		Keys:         cfg.keys,
		MaxQueue:     cfg.maxQueue,
		MaxConns:     cfg.maxConns,
		MaxReadConns: cfg.maxReads,
		Publisher:    cfg.publisher,
		DrainTimeout: cfg.stopTimeout,
		Logger:       cfg.log,
		Registerer:   reg,
		Tracer:       cfg.tracer,
	})
	if err != nil {
		return nil, explainDatabase(err)
	}
	s.core = core
	s.api = coreapi.New(core.Ledger, cfg.verifier, coreapi.Config{
		AllowedOrigins: cfg.origins,
		MaxReads:       cfg.maxReads,
		Keys:           cfg.keys,
		Logger:         cfg.log,
		Registerer:     reg,
		Tracer:         cfg.tracer,
	})
	s.registerAdmin()
	return s, nil
}

// registerAdmin adds the checks of /readyz and the admin API.
func (s *stack) registerAdmin() {
	s.admin.AddCheck(httpserver.Check{Name: "database", Ping: s.core.Ledger.Ping})
	// Another core would wait for the same database.
	s.admin.AddCheck(httpserver.Check{Name: "commits", Ping: s.core.Ledger.CheckCommits, Degrades: true})
	// Without Redis the core continues to commit. Taking it out of service would turn a delay into
	// an outage.
	s.admin.AddCheck(httpserver.Check{Name: "redis", Ping: s.core.CheckRedis, Degrades: true})
	// The partitions that can be written are served.
	s.admin.AddCheck(httpserver.Check{Name: "partitions", Ping: s.core.CheckPartitions, Degrades: true})
	// The ledger is right, and the core repairs Redis. Out of service it could not even commit.
	s.admin.AddCheck(httpserver.Check{Name: "history", Ping: s.core.CheckHistory, Degrades: true})
	s.admin.AddKeys(s.cfg.verifier)
	s.admin.AddProfiles(s.cfg.verifier)
	coreadmin.New(coreadmin.Config{
		Ledger:     s.core.Ledger,
		Redis:      s.cfg.rdb,
		Keys:       s.cfg.keys,
		CheckRedis: s.core.CheckRedis,
		Verifier:   s.cfg.verifier,
		Logger:     s.cfg.log,
	}).Register(s.admin)
}

// close releases what openStack opened, after all stages have returned.
func (s *stack) close() error { return s.core.Close() }

// stages returns the running parts in the order in which they stop: /readyz answers 503, requests
// finish, their operations are committed, their events are published.
func (s *stack) stages(public, admin net.Listener) []func(context.Context) error {
	return []func(context.Context) error{
		s.awaitDrain,
		func(ctx context.Context) error { return s.serveAPI(ctx, public) },
		s.core.Run,
		s.cfg.verifier.Run,
		func(ctx context.Context) error { return s.serveAdmin(ctx, admin) },
	}
}

func (s *stack) serveAPI(ctx context.Context, ln net.Listener) error {
	return httpserver.Serve(ctx, ln, httpserver.Recover(s.api, s.cfg.log), httpserver.Config{
		MaxConnections: s.cfg.maxOpen,
		MaxRequests:    s.cfg.maxOpen, // one for each connection of HTTP/1
		TrustedProxies: s.cfg.proxies,
		OwnHostOnly:    s.cfg.ownHostOnly,
		StopTimeout:    s.cfg.stopTimeout,
		Logger:         s.cfg.log,
	})
}

func (s *stack) serveAdmin(ctx context.Context, ln net.Listener) error {
	cfg := httpserver.AdminConfig(s.cfg.log)
	cfg.OwnHostOnly = s.cfg.ownHostOnly
	return httpserver.Serve(ctx, ln, httpserver.Recover(s.admin, s.cfg.log), cfg)
}

// awaitDrain makes /readyz answer 503 when ctx ends, and returns after the drain delay.
func (s *stack) awaitDrain(ctx context.Context) error {
	<-ctx.Done()
	s.admin.Drain()
	if s.cfg.drainDelay > 0 {
		s.cfg.log.Info("drain started", "delay", s.cfg.drainDelay)
		time.Sleep(s.cfg.drainDelay)
	}
	return nil
}
