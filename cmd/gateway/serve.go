package main

import (
	"os"
	"time"

	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/lifecycle"
	"github.com/redroomrewards/realtime/internal/logging"
	"github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/pkg/cache"
)

type serveCmd struct {
	HTTP           string   `name:"http" default:"127.0.0.1:8081" help:"Where clients connect."`
	Admin          string   `default:"127.0.0.1:9081" help:"Where health, metrics, profiles and the admin API listen. Keep it private."`
	CoreURL        string   `name:"core-url" default:"http://127.0.0.1:8080" help:"The core, for history and balances that Redis lacks." group:"Core"`
	CoreToken      string   `required:"" placeholder:"TOKEN" help:"Token for the core with the scope wallet:read. Better given as environment variable." group:"Core"`
	AllowedOrigins []string `placeholder:"ORIGIN,…" help:"Web pages that may connect, besides the gateway's own: hosts or origins, * for any run of characters. Example: https://*.example.com."`
	Name           string   `placeholder:"NAME" help:"Name in welcome frames. Default: the host's name."`
	cli.RedisFlags
	cli.TokenFlags
	cli.TLSFlags
	CacheSize       int           `default:"10000" help:"Balances kept in memory; 0: none, each is read from Redis." group:"Cache"`
	CacheTTL        time.Duration `name:"cache-ttl" default:"1h" help:"How long a balance is kept." group:"Cache"`
	DrainDelay      time.Duration `default:"0s" help:"After a stop signal: how long /readyz says 503 before connections are closed, so that a load balancer notices."`
	DrainWindow     time.Duration `default:"10s" help:"Clients that are sent away come back elsewhere spread over this time, so that they do not come all at once; 0s: all at once."`
	ShutdownTimeout time.Duration `default:"10s" help:"After a stop signal: how long requests under way may take."`
	Compression     bool          `help:"Compress messages for WebSocket clients that offer it (permessage-deflate). Saves traffic, costs processor time."`
	limitFlags
	cli.TraceFlags
	cli.LogFlags
}

// Help teaches by example.
func (serveCmd) Help() string {
	return "For example:\n\n  export REDIS_URL=redis://redis:6379/0 JWT_HS256_SECRET=… CORE_URL=http://core:8080\n" +
		"  export CORE_TOKEN=$(core token --sub gateway --scope wallet:read --ttl 8760h)\n" +
		"  gateway serve\n\n" +
		"Any number of gateways may run. On SIGTERM: /readyz turns to 503, clients are sent away (1012) and come back elsewhere, exit 0."
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
	for flag, d := range map[string]time.Duration{"--drain-delay": c.DrainDelay, "--drain-window": c.DrainWindow, "--shutdown-timeout": c.ShutdownTimeout} {
		if d < 0 {
			return cli.Usage(flag, "%v is negative", d)
		}
	}
	for _, pattern := range c.AllowedOrigins {
		if err := origin.Check(pattern); err != nil {
			return cli.Usage("--allowed-origins", "%v", err)
		}
	}
	if c.DrainWindow == 0 {
		c.DrainWindow = -1 // the gateway's zero is its default
	}
	limits, err := c.config()
	if err != nil {
		return err
	}
	limits.Compression = c.Compression
	verifier, err := c.Verifier(log)
	if err != nil {
		return err
	}
	core, err := coreclient.New(c.CoreURL, c.CoreToken, coreclient.Config{})
	if err != nil {
		return cli.Usage("--core-url", "%v", err)
	}
	defer core.Close()
	rdb, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	if c.Name == "" {
		c.Name, _ = os.Hostname() // none: the gateway's default
	}

	certificate, err := c.Certificate(log)
	if err != nil {
		return err
	}
	tracer, stopTracing, err := c.Tracer(ctx, "gateway", c.Name, log)
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

	g, err := gateway.New(ctx, rdb, core, verifier, gateway.Config{
		Name: c.Name, Keys: keys, AllowedOrigins: c.AllowedOrigins,
		Cache: cache.Config{Disabled: c.CacheSize == 0, Size: c.CacheSize, TTL: c.CacheTTL},
		Hub:   limits, DrainDelay: c.DrainDelay, DrainWindow: c.DrainWindow, StopTimeout: c.ShutdownTimeout, Logger: log, Tracer: tracer,
	})
	if err != nil {
		return err
	}
	log.Info("gateway serves", "version", buildinfo.String(), "http", public.Addr().String(), "tls", certificate != nil, "admin", admin.Addr().String(),
		"redis", logging.URL(c.RedisURL), "core", logging.URL(c.CoreURL), "namespace", keys.Namespace, "partitions", keys.Partitions)
	err = lifecycle.Run(ctx, append(g.Stages(certificate.Listener(public), admin), certificate.Run)...)
	log.Info("gateway stopped")
	return err
}
