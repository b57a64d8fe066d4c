package main

import (
	"errors"
	"os"
	"time"

	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/lifecycle"
	"github.com/redroomrewards/realtime/internal/logging"
)

type serveCmd struct {
	HTTP  string `name:"http" default:"127.0.0.1:8080" help:"Where the HTTP API listens."`
	Admin string `default:"127.0.0.1:9080" help:"Where health, metrics, profiles and the admin API listen. Keep it private."`
	databaseFlag
	cli.RedisFlags
	cli.TokenFlags
	cli.TLSFlags
	MaxQueue        int           `default:"8192" help:"Operations that may wait for a commit; beyond, requests are answered 503 at once."`
	DBConnections   int           `name:"db-connections" default:"16" help:"Connections to Postgres that this core may open."`
	DrainDelay      time.Duration `default:"0s" help:"After a stop signal: how long /readyz says 503 before new requests are refused, so that a load balancer notices."`
	ShutdownTimeout time.Duration `default:"10s" help:"After a stop signal: how long requests under way may take, and after them the publishing of their events."`
	cli.TraceFlags
	cli.LogFlags
}

// Help teaches by example.
func (serveCmd) Help() string {
	return "For example:\n\n  export DATABASE_URL=postgres://core:…@db/points REDIS_URL=redis://redis:6379/0\n" +
		"  export JWT_HS256_SECRET=$(openssl rand -hex 32)\n" +
		"  core migrate up && core serve\n\n" +
		"Any number of cores may run on one database. On SIGTERM: /readyz turns to 503, requests finish, what they asked for is committed, its events are published, exit 0."
}

// Run serves until env.Context ends.
func (c serveCmd) Run(env *cli.Env) error {
	ctx := env.Context
	log, err := c.Logger(env.Stderr)
	if err != nil {
		return err
	}
	keys, err := c.Keys()
	if err != nil {
		return err
	}
	if err := c.limits(); err != nil {
		return err
	}
	verifier, err := c.Verifier(log)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	rdb, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()

	certificate, err := c.Certificate(log)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // none: an instance without a name
	tracer, stopTracing, err := c.Tracer(ctx, "core", host, log)
	if err != nil {
		return err
	}
	defer stopTracing()

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

	s, err := openStack(ctx, stackConfig{
		databaseURL: c.DatabaseURL, rdb: rdb, keys: keys, verifier: verifier, maxQueue: c.MaxQueue, maxConns: c.DBConnections,
		drainDelay: c.DrainDelay, stopTimeout: c.ShutdownTimeout, tracer: tracer, log: log,
	})
	if err != nil {
		return err
	}
	log.Info("core serves", "version", buildinfo.String(), "http", public.Addr().String(), "tls", certificate != nil, "admin", admin.Addr().String(),
		"database", logging.URL(c.DatabaseURL), "redis", logging.URL(c.RedisURL), "namespace", keys.Namespace, "partitions", keys.Partitions)
	err = lifecycle.Run(ctx, append(s.stages(certificate.Listener(public), admin), certificate.Run)...)
	log.Info("core stopped")
	return errors.Join(err, s.close())
}

// limits refuses what would silently become something else.
func (c serveCmd) limits() error {
	for flag, n := range map[string]int{"--max-queue": c.MaxQueue, "--db-connections": c.DBConnections} {
		if n < 1 {
			return cli.Usage(flag, "%d is too few, the least is 1", n)
		}
	}
	for flag, d := range map[string]time.Duration{"--drain-delay": c.DrainDelay, "--shutdown-timeout": c.ShutdownTimeout} {
		if d < 0 {
			return cli.Usage(flag, "%v is negative", d)
		}
	}
	return nil
}
