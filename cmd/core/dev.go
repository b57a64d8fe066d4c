package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

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
	Data               string  `default:"./.realtime-dev" help:"Directory of the embedded ledger. Its data survives restarts."`
	HTTP               string  `name:"http" default:"127.0.0.1:8080" help:"Address of the core's HTTP API and of the live page."`
	Gateway            string  `default:"127.0.0.1:8081" help:"Address of the gateway."`
	Admin              string  `default:"127.0.0.1:9080" help:"Address of the core's admin listener."`
	GatewayAdmin       string  `default:"127.0.0.1:9081" help:"Address of the gateway's admin listener."`
	Redis              string  `default:"127.0.0.1:6390" help:"Address of the embedded Redis. It is empty after a restart; the core fills it again as needed."`
	Seed               string  `default:"demo" enum:"demo,none" help:"What a new ledger has, one of ${enum}: demo is a week of history of some users and models. user:demo and model:demo, which the pages show, exist in any case."`
	Reset              bool    `help:"Delete the ledger in --data before the start." once:""`
	Open               bool    `help:"Open the live page in the browser." once:""`
	Traffic            float64 `default:"0" help:"Random operations a second: credits, holds, settlements, refunds."`
	JWTHS256Secret     string  `name:"jwt-hs256-secret" default:"${devSecret}" help:"Secret to sign tokens with. The default is public: use it on this machine only."`
	JWTHS256SecretFile string  `name:"jwt-hs256-secret-file" placeholder:"FILE" help:"File with the secret."`
	AllowRemote        bool    `help:"Listen on addresses that other machines can reach, although the default secret is public and the embedded Redis has no password. Everyone who reaches them can change all balances." once:""`
	LogLevel           string  `default:"warn" enum:"debug,info,warn,error" help:"Lowest level to log: ${enum}." group:"Logs"`
	LogFormat          string  `default:"auto" enum:"auto,json,text" help:"Format of log lines: ${enum}. auto is text on a terminal and json elsewhere." group:"Logs"`
}

// Help describes the output.
func (devCmd) Help() string {
	return "Prints URLs, tokens and commands to paste, then a line with ready, then one line for each event. Ctrl-C stops everything.\n\n" +
		"  core dev --open --traffic 5\n" +
		"  core dev --reset"
}

// devStopTimeout bounds each step of the stop, so that Ctrl-C takes at most 2 s.
const devStopTimeout = 300 * time.Millisecond

const (
	// devDatabase is the ledger's file in --data.
	devDatabase = "ledger.db"
	// devTailBlock is short, so that a stop need not wait for a read of the streams.
	devTailBlock = 100 * time.Millisecond

	maxTraffic = 10_000 // operations a second

	// The embedded Redis is bounded, since it lives in the memory of this process.
	devStreamLength = 10_000
	devDedupTTL     = time.Minute
)

// Run runs the parts of core serve and gateway serve in one process.
func (c devCmd) Run(env *cli.Env) (err error) {
	ctx := env.Context
	log, err := cli.LogFlags{LogLevel: c.LogLevel, LogFormat: c.LogFormat}.Logger(env.Stderr)
	if err != nil {
		return err
	}
	verifier, err := c.validate()
	if err != nil {
		return err
	}
	unlock, err := c.lockData()
	if err != nil {
		return err
	}
	defer unlock()
	l, err := c.openListeners(ctx)
	defer l.close()
	if err != nil {
		return err
	}

	database, err := c.prepareLedger(ctx, env.Stdout)
	if ctx.Err() != nil {
		return stopWhileStarting(nil, err, log)
	}
	if err != nil {
		return err
	}
	rdb, err := redisconn.Open("redis://" + l.redis.Addr() + "/0")
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	core, err := openStack(ctx, stackConfig{
		databaseURL: database,
		rdb:         rdb,
		keys:        bus.Keys{}.WithDefaults(),
		verifier:    verifier,
		stopTimeout: devStopTimeout,
		ownHostOnly: true,
		origins:     l.allowedOrigins(),
		log:         log,
		publisher:   publish.Config{MaxLen: devStreamLength, DedupTTL: devDedupTTL},
	})
	if ctx.Err() != nil {
		return stopWhileStarting(core, err, log)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, core.close()) }()

	d, err := newDemo(c, l, core.core.Ledger)
	if err != nil {
		return err
	}
	return d.serve(ctx, core, env.Stdout)
}

// serve adds the gateway and the pages to the core, and runs all parts until ctx ends.
func (d *demo) serve(ctx context.Context, core *stack, out io.Writer) error {
	history, err := coreclient.New(d.coreURL, d.serviceToken, coreclient.Config{})
	if err != nil {
		return err
	}
	defer history.Close()
	gw, err := gateway.New(ctx, core.cfg.rdb, history, core.cfg.verifier, gateway.Config{
		Name:           "dev",
		AllowedOrigins: core.cfg.origins,
		TailBlock:      devTailBlock,
		StopTimeout:    devStopTimeout,
		CloseTimeout:   devStopTimeout,
		OwnHostOnly:    true,
		Logger:         core.cfg.log,
		Observe:        d.observeBatch,
	})
	if err != nil {
		return err
	}
	newShop(d, core.api).addRoutes(core.api)
	err = d.addPages(core.api, gw)
	if err != nil {
		return err
	}

	l := d.listen
	stages := []func(context.Context) error{
		func(ctx context.Context) error { return d.run(ctx, out, gw.Ready()) },
	}
	stages = append(stages, gw.Stages(l.gateway, l.gatewayAdmin)...)
	stages = append(stages, core.stages(l.http, l.admin)...)
	stages = append(stages, l.advanceClock)
	return lifecycle.Run(ctx, stages...)
}

// validate checks the flags and returns the verifier of the tokens.
func (c devCmd) validate() (*auth.Verifier, error) {
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(c.JWTHS256Secret)})
	if err != nil {
		return nil, cli.Usage("--jwt-hs256-secret", "%v", err)
	}
	if c.Traffic < 0 || c.Traffic > maxTraffic {
		return nil, cli.Usage("--traffic", "must be from 0 to %d, got %v", maxTraffic, c.Traffic)
	}
	return verifier, c.validateAddresses()
}

// validateAddresses refuses addresses that other machines can reach, unless that is allowed.
func (c devCmd) validateAddresses() error {
	if c.AllowRemote {
		return nil
	}

	isPublic := c.JWTHS256Secret == cli.DevSecret
	for _, listener := range c.listenerFlags() {
		if isPublic && !httpserver.IsLoopbackAddress(listener.address) {
			return cli.Usage(listener.flag, "must be a loopback address, because the secret is public; got %s; "+
				"use another secret, or --allow-remote to listen there nevertheless", listener.address)
		}
	}
	if !httpserver.IsLoopbackAddress(c.Redis) {
		return cli.Usage("--redis", "must be a loopback address, because the embedded Redis has no password; got %s; "+
			"use --allow-remote to listen there nevertheless", c.Redis)
	}
	return nil
}

// lockData creates --data and keeps other processes from using it until unlock.
func (c devCmd) lockData() (unlock func(), err error) {
	err = os.MkdirAll(c.Data, 0o700)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	unlock, err = lockDirectory(c.Data)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return unlock, nil
}

// prepareLedger makes the ledger in --data current, and fills a new one. It returns the ledger's URL.
func (c devCmd) prepareLedger(ctx context.Context, out io.Writer) (string, error) {
	err := c.resetData(out)
	if err != nil {
		return "", err
	}
	database := "sqlite:" + filepath.Join(c.Data, devDatabase)
	_, err = wallet.Migrate(ctx, database)
	if err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	return database, c.seedLedger(ctx, database)
}
