package main

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/lifecycle"
	"github.com/redroomrewards/realtime/internal/logging"
	"github.com/redroomrewards/realtime/internal/origin"
)

type serveCmd struct {
	HTTP  string `name:"http" default:"127.0.0.1:8080" help:"Address of the HTTP API." group:"Listeners"`
	Admin string `default:"127.0.0.1:9080" help:"Address of health, metrics, profiles and the admin API. It must not be reachable from outside." group:"Listeners"`
	databaseFlag
	cli.RedisFlags
	cli.TokenFlags
	cli.TLSFlags
	cli.ProxyFlags
	AllowedOrigins  []string      `placeholder:"ORIGIN" help:"Hosts or origins of web pages that may read with the token of a user, besides the core's own host. They cannot write. * matches any characters. Example: https://*.example.com." group:"Listeners"`
	MaxQueue        int           `default:"8192" help:"Largest number of operations that wait for a commit. Further requests get 503 at once." group:"Limits"`
	DBConnections   int           `name:"db-connections" default:"8" help:"Largest number of connections to Postgres for commits, the relay and housekeeping. Reads have their own connections." group:"Limits"`
	DBReads         int           `name:"db-read-connections" default:"8" help:"Largest number of connections to the database for reads. As many reads run at the same time; further ones wait for at most a second and then get 503." group:"Limits"`
	MaxConnections  int           `default:"4096" help:"Largest number of open connections to --http. A further one takes the place of the one that has been idle for the longest time, or is closed." group:"Limits"`
	DrainDelay      time.Duration `default:"0s" help:"After a stop signal, how long /readyz answers 503 before new requests are refused. A load balancer can notice it in this time." group:"Stop"`
	ShutdownTimeout time.Duration `default:"10s" help:"After a stop signal, how long running requests may take, and then the publishing of their events." group:"Stop"`
	cli.TraceFlags
	cli.LogFlags
}

// Help returns an example.
func (serveCmd) Help() string {
	return "Example:\n\n  export DATABASE_URL=postgres://core:…@db/points REDIS_URL=redis://redis:6379/0\n" +
		"  export REALTIME_JWT_HS256_SECRET=$(openssl rand -hex 32)\n" +
		"  core migrate up && core serve\n\n" +
		"Any number of cores may run on one database. On SIGTERM, /readyz turns to 503, running requests finish, " +
		"their operations are committed and their events are published. The exit code is 0."
}

// Run serves until env.Context ends.
func (c serveCmd) Run(env *cli.Env) error {
	ctx := env.Context
	log, err := c.Logger(env.Stderr)
	if err != nil {
		return err
	}
	cfg, err := c.stackConfig(log)
	if err != nil {
		return err
	}
	warnUnverifiedDatabase(c.DatabaseURL, log)
	cfg.rdb, err = c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = cfg.rdb.Close() }()
	certificate, err := c.Certificate(log)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // on failure, the instance has no name
	tracer, stopTracing, err := c.Tracer(ctx, "core", host, log)
	if err != nil {
		return err
	}
	defer stopTracing()
	cfg.tracer = tracer

	public, err := httpserver.Listen(ctx, "--http", c.HTTP)
	if err != nil {
		return err
	}
	defer func() { _ = public.Close() }()
	admin, err := httpserver.Listen(ctx, "--admin", c.Admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()

	s, err := openStack(ctx, cfg)
	if ctx.Err() != nil {
		return stopWhileStarting(s, err, log)
	}
	if err != nil {
		return err
	}
	log.Info("core started",
		"version", buildinfo.String(),
		"http", public.Addr().String(),
		"tls", certificate != nil,
		"admin", admin.Addr().String(),
		"database", logging.URL(c.DatabaseURL),
		"redis", logging.URL(c.RedisURL),
		"namespace", cfg.keys.Namespace,
		"partitions", cfg.keys.Partitions,
	)
	stages := s.stages(certificate.Listener(cfg.proxies.Listener(public)), admin)
	err = lifecycle.Run(ctx, append(stages, certificate.Run)...)
	log.Info("core stopped")
	return errors.Join(err, s.close())
}

// stopWhileStarting closes what openStack opened before the signal. The errors come from the signal,
// or no longer matter.
func stopWhileStarting(s *stack, openErr error, log *slog.Logger) error {
	log.Info("core stopped while it started", "error", openErr)
	if s == nil {
		return nil
	}
	return s.close()
}

// stackConfig validates the flags and returns the settings of the stack, without its Redis client
// and its tracer.
func (c serveCmd) stackConfig(log *slog.Logger) (stackConfig, error) {
	keys, err := c.Keys()
	if err != nil {
		return stackConfig{}, err
	}
	err = c.validateLimits()
	if err != nil {
		return stackConfig{}, err
	}
	verifier, err := c.Verifier(log)
	if err != nil {
		return stackConfig{}, err
	}
	err = c.databaseFlag.validate()
	if err != nil {
		return stackConfig{}, err
	}
	err = origin.CheckAll(c.AllowedOrigins)
	if err != nil {
		return stackConfig{}, cli.Usage("--allowed-origins", "%v", err)
	}
	proxies, err := c.Proxies()
	if err != nil {
		return stackConfig{}, err
	}
	return stackConfig{
		databaseURL: c.DatabaseURL,
		keys:        keys,
		verifier:    verifier,
		maxQueue:    c.MaxQueue,
		maxConns:    c.DBConnections,
		maxReads:    c.DBReads,
		maxOpen:     c.MaxConnections,
		proxies:     proxies,
		origins:     c.AllowedOrigins,
		drainDelay:  c.DrainDelay,
		stopTimeout: c.ShutdownTimeout,
		log:         log,
	}, nil
}

// validateLimits refuses values that would silently become defaults.
func (c serveCmd) validateLimits() error {
	switch {
	case c.MaxQueue < 1:
		return cli.Usage("--max-queue", "must be at least 1, got %d", c.MaxQueue)
	case c.DBConnections < 1:
		return cli.Usage("--db-connections", "must be at least 1, got %d", c.DBConnections)
	case c.DBReads < 1:
		return cli.Usage("--db-read-connections", "must be at least 1, got %d", c.DBReads)
	case c.MaxConnections < 1:
		return cli.Usage("--max-connections", "must be at least 1, got %d", c.MaxConnections)
	case c.DrainDelay < 0:
		return cli.Usage("--drain-delay", "must not be negative, got %v", c.DrainDelay)
	case c.ShutdownTimeout < 0:
		return cli.Usage("--shutdown-timeout", "must not be negative, got %v", c.ShutdownTimeout)
	}
	return nil
}
