package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/lifecycle"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type devCmd struct {
	Data           string  `default:"./.realtime-dev" help:"Directory of the embedded ledger; what is in it survives restarts."`
	HTTP           string  `name:"http" default:"127.0.0.1:8080" help:"Where the core's HTTP API and the live page listen."`
	Gateway        string  `default:"127.0.0.1:8081" help:"Where the gateway listens."`
	Admin          string  `default:"127.0.0.1:9080" help:"The core's admin listener."`
	GatewayAdmin   string  `default:"127.0.0.1:9081" help:"The gateway's admin listener."`
	Redis          string  `default:"127.0.0.1:6390" help:"Where the embedded Redis listens; it is empty after a restart, which changes nothing."`
	Traffic        float64 `default:"0" help:"Operations a second to make up: credits, holds, settlements, refunds."`
	JWTHS256Secret string  `name:"jwt-hs256-secret" default:"${devSecret}" help:"Secret that tokens are signed with. Everybody knows the default: for this machine only."`
	LogLevel       string  `default:"warn" enum:"debug,info,warn,error" help:"Least level that is logged: ${enum}." group:"Logs"`
	LogFormat      string  `default:"auto" enum:"auto,json,text" help:"${enum}; auto is text on a terminal and json elsewhere." group:"Logs"`
}

// Help says what comes.
func (devCmd) Help() string {
	return "Prints URLs, tokens and commands to paste, then `ready` on a line of its own, then a line for each event that passes. Ctrl-C stops everything.\n\n" +
		"  core dev --traffic 5"
}

// devStop bounds each step of the stop, so that Ctrl-C takes no longer than 2 s.
const devStop = 300 * time.Millisecond

// devDatabase is the ledger's file in --data.
const devDatabase = "ledger.db"

// Run does what core serve and gateway serve do, in one process.
func (c devCmd) Run(env *cli.Env) (err error) {
	ctx := env.Context
	log, err := cli.LogFlags{LogLevel: c.LogLevel, LogFormat: c.LogFormat}.Logger(env.Stderr)
	if err != nil {
		return err
	}
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(c.JWTHS256Secret)})
	if err != nil {
		return cli.Usage("--jwt-hs256-secret", "%v", err)
	}
	if c.Traffic < 0 || c.Traffic > 10000 {
		return cli.Usage("--traffic", "%v is not from 0 to 10000", c.Traffic)
	}
	l, err := c.listen(ctx)
	defer l.close()
	if err != nil {
		return err
	}

	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	database := "sqlite:" + filepath.Join(c.Data, devDatabase)
	if _, err := wallet.Migrate(ctx, database); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	rdb, err := redisconn.Open("redis://" + l.redis.Addr() + "/0")
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	core, err := openStack(ctx, stackConfig{
		databaseURL: database, rdb: rdb, keys: bus.Keys{}.WithDefaults(), verifier: verifier, stopTimeout: devStop, log: log,
		// The embedded Redis lives in this process' memory.
		publisher: publish.Config{MaxLen: 10_000, DedupTTL: time.Minute},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, core.close()) }()

	d, err := newDemo(c, l, core.core.Ledger)
	if err != nil {
		return err
	}
	history, err := coreclient.New(d.coreURL, d.serviceToken, coreclient.Config{})
	if err != nil {
		return err
	}
	defer history.Close()
	gw, err := gateway.New(ctx, rdb, history, verifier, gateway.Config{
		Name: "dev", AllowedOrigins: d.origins(), TailBlock: 100 * time.Millisecond,
		StopTimeout: devStop, CloseTimeout: devStop, Logger: log, Observe: d.observe,
	})
	if err != nil {
		return err
	}
	if err := d.pages(core, gw); err != nil {
		return err
	}
	all := []func(context.Context) error{func(ctx context.Context) error { return d.run(ctx, env.Stdout, gw.Ready()) }}
	all = append(all, gw.Stages(l.gateway, l.gatewayAdmin)...)
	all = append(all, core.stages(l.http, l.admin)...)
	all = append(all, l.passTime)
	return lifecycle.Run(ctx, all...)
}

// listeners is all that dev listens with.
type listeners struct {
	http, gateway, admin, gatewayAdmin net.Listener
	redis                              *miniredis.Miniredis
}

func (c devCmd) listen(ctx context.Context) (*listeners, error) {
	l := &listeners{}
	for _, w := range []struct {
		flag, addr string
		to         *net.Listener
	}{
		{"--http", c.HTTP, &l.http}, {"--gateway", c.Gateway, &l.gateway},
		{"--admin", c.Admin, &l.admin}, {"--gateway-admin", c.GatewayAdmin, &l.gatewayAdmin},
	} {
		ln, err := httpserver.Listen(ctx, w.flag, w.addr)
		if err != nil {
			return l, err
		}
		*w.to = ln
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(c.Redis); err != nil {
		return l, fmt.Errorf("listen on %s: %w; choose another address with --redis", c.Redis, err)
	}
	l.redis = m
	return l, nil
}

func (l *listeners) close() {
	for _, ln := range []net.Listener{l.http, l.gateway, l.admin, l.gatewayAdmin} {
		if ln != nil {
			_ = ln.Close() // closed already by the server that used it
		}
	}
	if l.redis != nil {
		l.redis.Close()
	}
}

// passTime lets the embedded Redis' keys expire: its clock stands still by itself.
func (l *listeners) passTime(ctx context.Context) error {
	const step = 250 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.redis.FastForward(step)
		}
	}
}
