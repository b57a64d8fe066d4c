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
	HTTP           string   `name:"http" default:"127.0.0.1:8081" help:"Address for clients to connect to." group:"Listeners"`
	Admin          string   `default:"127.0.0.1:9081" help:"Address of health, metrics, profiles and the admin API. It must not be reachable from outside." group:"Listeners"`
	CoreURL        string   `name:"core-url" default:"http://127.0.0.1:8080" help:"URL of the core, for history and balances that Redis lacks." group:"Core"`
	CoreToken      string   `required:"" placeholder:"TOKEN" help:"Token for the core with the scope wallet:read. Prefer the file or the environment variable, since flags are visible in the process list." group:"Core"`
	CoreTokenFile  string   `placeholder:"FILE" help:"File with the token. It is read again when it changes, and when the core refuses the token." group:"Core"`
	AllowedOrigins []string `placeholder:"ORIGIN" help:"Hosts or origins of web pages that may connect, besides the gateway's own host. * matches any characters. Example: https://*.example.com." group:"Clients"`
	Name           string   `placeholder:"NAME" help:"Name of the gateway in welcome frames. Default: the name of the host." group:"Clients"`
	cli.RedisFlags
	cli.TokenFlags
	cli.TLSFlags
	cli.ProxyFlags
	CacheSize       int           `default:"10000" help:"Number of balances kept in memory. With 0, every balance is read from Redis." group:"Cache"`
	CacheTTL        time.Duration `name:"cache-ttl" default:"1h" help:"How long a balance is kept in memory." group:"Cache"`
	DrainDelay      time.Duration `default:"0s" help:"After a stop signal, how long /readyz answers 503 before connections are closed. A load balancer can notice it in this time." group:"Stop"`
	DrainWindow     time.Duration `default:"10s" help:"When clients are disconnected, their reconnects are spread over this time. With 0s, all reconnect at once." group:"Stop"`
	ShutdownTimeout time.Duration `default:"10s" help:"After a stop signal, how long running requests may take." group:"Stop"`
	Compression     bool          `help:"Compress messages to WebSocket clients that offer permessage-deflate. This saves traffic and costs processor time." group:"Clients"`
	limitFlags
	cli.TraceFlags
	cli.LogFlags
}

// Help returns an example.
func (serveCmd) Help() string {
	return "Example:\n\n  export REDIS_URL=redis://redis:6379/0 REALTIME_JWT_HS256_SECRET=… REALTIME_CORE_URL=http://core:8080\n" +
		"  export REALTIME_CORE_TOKEN=$(core token --sub gateway --scope wallet:read --ttl 8760h)\n" +
		"  gateway serve\n\n" +
		"Any number of gateways may run. On SIGTERM, /readyz turns to 503 and clients are disconnected with 1012 and reconnect elsewhere. " +
		"The exit code is 0."
}

// Run serves until env.Context ends.
func (c serveCmd) Run(env *cli.Env) error {
	ctx := env.Context
	log, err := c.Logger(env.Stderr)
	if err != nil {
		return err
	}
	cfg, err := c.gatewayConfig()
	if err != nil {
		return err
	}
	verifier, err := c.Verifier(log)
	if err != nil {
		return err
	}
	core, err := coreclient.New(c.CoreURL, c.CoreToken, coreclient.Config{TokenFile: c.CoreTokenFile})
	if err != nil {
		return cli.Usage("--core-url", "%v", err)
	}
	defer core.Close()
	rdb, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	certificate, err := c.Certificate(log)
	if err != nil {
		return err
	}
	tracer, stopTracing, err := c.Tracer(ctx, "gateway", cfg.Name, log)
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

	cfg.Logger = log
	cfg.Tracer = tracer
	g, err := gateway.New(ctx, rdb, core, verifier, cfg)
	if ctx.Err() != nil {
		log.Info("gateway stopped while it started", "error", err) // the signal has caused the error
		return nil
	}
	if err != nil {
		return err
	}
	log.Info("gateway started",
		"version", buildinfo.String(),
		"http", public.Addr().String(),
		"tls", certificate != nil,
		"admin", admin.Addr().String(),
		"redis", logging.URL(c.RedisURL),
		"core", logging.URL(c.CoreURL),
		"namespace", cfg.Keys.Namespace,
		"partitions", cfg.Keys.Partitions,
	)
	stages := g.Stages(certificate.Listener(cfg.TrustedProxies.Listener(public)), admin)
	err = lifecycle.Run(ctx, append(stages, certificate.Run)...)
	log.Info("gateway stopped")
	return err
}

// gatewayConfig validates the flags and returns the gateway's settings, without Logger and Tracer.
func (c serveCmd) gatewayConfig() (gateway.Config, error) {
	keys, err := c.Keys()
	if err != nil {
		return gateway.Config{}, err
	}
	err = c.validateDurations()
	if err != nil {
		return gateway.Config{}, err
	}
	err = origin.CheckAll(c.AllowedOrigins)
	if err != nil {
		return gateway.Config{}, cli.Usage("--allowed-origins", "%v", err)
	}
	err = c.validateLimits()
	if err != nil {
		return gateway.Config{}, err
	}

	proxies, err := c.Proxies()
	if err != nil {
		return gateway.Config{}, err
	}

	hub := c.hubConfig()
	hub.Compression = c.Compression
	cfg := gateway.Config{
		Name:           c.Name,
		Keys:           keys,
		AllowedOrigins: c.AllowedOrigins,
		TrustedProxies: proxies,
		Cache: cache.Config{
			Disabled: c.CacheSize == 0,
			Size:     c.CacheSize,
			TTL:      c.CacheTTL,
		},
		Hub:         hub,
		DrainDelay:  c.DrainDelay,
		DrainWindow: c.DrainWindow,
		StopTimeout: c.ShutdownTimeout,
	}
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname() // on failure, the gateway's default applies
	}
	if cfg.DrainWindow == 0 {
		cfg.DrainWindow = -1 // to the gateway, zero is the default
	}
	return cfg, nil
}

func (c serveCmd) validateDurations() error {
	for _, duration := range []struct {
		flag  string
		value time.Duration
	}{
		{"--drain-delay", c.DrainDelay},
		{"--drain-window", c.DrainWindow},
		{"--shutdown-timeout", c.ShutdownTimeout},
	} {
		if duration.value < 0 {
			return cli.Usage(duration.flag, "must not be negative, got %v", duration.value)
		}
	}
	return nil
}
