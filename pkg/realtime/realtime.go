package realtime

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/cache"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Config has the settings of a core. Database is required, and exactly one of RedisURL, Redis and
// Memory.
type Config struct {
	Database string // postgres://… or sqlite:PATH; the schema must be current

	RedisURL string                // a URL for redisconn.Open; Close closes the client
	Redis    redis.UniversalClient // a client that the caller closes, in place of RedisURL
	Memory   bool                  // true: run without Redis and keep events in the process, for tests

	Keys  bus.Keys // names of the keys in Redis. Defaults to namespace "rt", 64 partitions.
	Group string   // consumer group of Core.Bus. Defaults to none: Core.Bus is nil, unless Memory is set.

	Bus          bus.Config     // settings of Core.Bus; Open sets Keys, Group, Logger and Registerer
	MaxQueue     int            // limits the operations that wait for a commit. Defaults to 8192.
	MaxConns     int            // limits the connections to Postgres for commits and events. Defaults to 8.
	MaxReadConns int            // limits the database connections for queries. Defaults to 8.
	Publisher    publish.Config // settings of the publisher; Open sets Keys and Registerer

	// DrainTimeout limits how long Run publishes committed events after its context has ended.
	// Defaults to 10 s.
	DrainTimeout time.Duration

	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
	Tracer     trace.Tracer          // Defaults to no traces.
}

// Core is an open core. Its methods may be called from several goroutines.
type Core struct {
	Ledger *wallet.Ledger
	Bus    bus.Bus         // nil without Config.Group, unless Config.Memory is set
	Cache  *cache.Balances // balances from Redis; nil with Config.Memory

	cfg       Config
	closeRDB  func() error
	layout    *redisconn.Watch // nil with Memory
	relay     *relay.Relay     // nil with Memory
	deliverer *deliverer       // nil without Memory
}

// Open opens the ledger and Redis. It starts nothing, but the ledger can be read. It returns the
// errors of wallet.Open (ErrNotMigrated, ErrNoFile). It returns bus.ErrLayout if the ledger or Redis
// has other Keys, and then it has changed nothing. If Redis is unavailable, Open succeeds, and Run
// waits for Redis.
func Open(ctx context.Context, cfg Config) (*Core, error) {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 10*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	c := &Core{
		cfg:      cfg,
		closeRDB: func() error { return nil },
	}

	err := c.openRedis()
	if err != nil {
		return nil, err
	}
	err = c.openLedger(ctx)
	if err != nil {
		return nil, errors.Join(err, c.closeRDB())
	}
	err = c.openParts(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Core) openRedis() error {
	sources := 0
	for _, given := range []bool{c.cfg.RedisURL != "", c.cfg.Redis != nil, c.cfg.Memory} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("realtime: Config must have exactly one of RedisURL, Redis and Memory")
	}
	if c.cfg.RedisURL == "" {
		return nil
	}

	rdb, err := redisconn.Open(c.cfg.RedisURL)
	if err != nil {
		return err
	}
	c.cfg.Redis = rdb
	c.closeRDB = rdb.Close
	return nil
}

func (c *Core) openLedger(ctx context.Context) error {
	ledger, err := wallet.Open(ctx, c.cfg.Database, wallet.Config{
		MaxQueue:     c.cfg.MaxQueue,
		MaxConns:     c.cfg.MaxConns,
		MaxReadConns: c.cfg.MaxReadConns,
		Committed:    c.offerRows,
		Logger:       c.cfg.Logger,
		Registerer:   c.cfg.Registerer,
	})
	c.Ledger = ledger
	return err
}

// openParts makes the parts that use the ledger. It checks the layout of the ledger before that of
// Redis, so that a core with a wrong layout claims nothing.
func (c *Core) openParts(ctx context.Context) error {
	busConfig := c.cfg.Bus
	busConfig.Keys = c.cfg.Keys
	busConfig.Group = c.cfg.Group
	busConfig.Logger = c.cfg.Logger
	busConfig.Registerer = c.cfg.Registerer
	if c.cfg.Memory {
		memory := membus.New(busConfig)
		c.Bus = memory
		c.deliverer = newDeliverer(c.Ledger, memory, c.cfg.Logger)
		return nil
	}

	c.layout = redisconn.NewWatch(c.cfg.Redis, c.cfg.Keys, redisconn.WatchConfig{Logger: c.cfg.Logger})
	err := c.Ledger.CheckLayout(ctx, c.cfg.Keys, c.layout.Start)
	if err != nil {
		return err
	}

	publisher := c.cfg.Publisher
	publisher.Keys = c.cfg.Keys
	publisher.Registerer = c.cfg.Registerer
	c.relay = relay.New(c.Ledger, publish.New(c.cfg.Redis, publisher), relay.Config{
		Drain:      c.cfg.DrainTimeout,
		Logger:     c.cfg.Logger,
		Registerer: c.cfg.Registerer,
		Tracer:     c.cfg.Tracer,
	})
	c.Cache = cache.New(c.cfg.Redis, cache.Config{Keys: c.cfg.Keys})
	if c.cfg.Group == "" {
		return nil
	}

	group, err := consumer.New(c.cfg.Redis, busConfig)
	if err != nil {
		return err
	}
	c.Bus = group
	return nil
}

// offerRows offers committed rows to the relay or the deliverer. The ledger calls it only while Run
// runs.
func (c *Core) offerRows(rows []bus.OutboxRow) {
	if c.deliverer != nil {
		c.deliverer.signalRows()
		return
	}
	c.relay.Offer(rows)
}

// Run commits operations, publishes events and delivers them until ctx ends. Then it completes the
// accepted operations. It must be called at most once.
func (c *Core) Run(ctx context.Context) error {
	ledgerCtx, stopLedger := context.WithCancel(ctx)
	relayCtx, stopRelay := context.WithCancel(context.WithoutCancel(ctx))
	busCtx, stopBus := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLedger()
	defer stopRelay()
	defer stopBus()

	var parts errgroup.Group
	parts.Go(func() error {
		defer stopRelay()
		return c.Ledger.Run(ledgerCtx)
	})
	parts.Go(func() error {
		defer stopBus()
		defer stopLedger() // if the relay fails first
		return c.runRelay(relayCtx)
	})
	if c.Bus != nil {
		parts.Go(func() error {
			defer stopLedger()
			return c.Bus.Run(busCtx)
		})
	}
	return parts.Wait()
}

// runRelay waits until Redis has the layout of this core, and then runs the relay.
func (c *Core) runRelay(ctx context.Context) error {
	if c.deliverer != nil {
		return c.deliverer.runDeliveries(ctx)
	}

	watching, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	var parts errgroup.Group
	parts.Go(func() error {
		defer stopWatch() // if the watch finds another layout, the relay must stop too
		return c.layout.Run(watching)
	})
	parts.Go(func() error {
		select {
		case <-c.layout.Known():
			return c.relay.Run(watching)
		case <-watching.Done():
			return nil
		}
	})
	return parts.Wait()
}

// CheckRedis returns nil if Redis answers and has the layout of this core. With Config.Memory it
// always returns nil.
func (c *Core) CheckRedis(ctx context.Context) error {
	if c.layout == nil {
		return nil
	}
	return c.layout.Check(ctx)
}

// CheckHistory returns an error while Redis may have events that the ledger does not have: the ledger
// was restored from a backup, or its database failed over and lost commits, and not all accounts
// have been compared yet. The core works meanwhile. With Config.Memory it always returns nil.
func (c *Core) CheckHistory(context.Context) error {
	if c.relay == nil {
		return nil
	}
	return c.relay.CheckHistory()
}

// CheckPartitions returns an error that names the partitions to which events cannot be published at
// the moment, because a part of Redis does not answer or refuses writes. Their events wait in the
// ledger. With Config.Memory it always returns nil.
func (c *Core) CheckPartitions(context.Context) error {
	if c.relay == nil {
		return nil
	}
	return c.relay.CheckPartitions()
}

// Close closes the ledger, and Redis if Open opened it. Call it after Run has returned.
func (c *Core) Close() error { return errors.Join(c.Ledger.Close(), c.closeRDB()) }
