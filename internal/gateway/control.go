package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	controlTimeout = 5 * time.Second        // of one trip to Redis
	controlPing    = 3 * time.Second        // a channel silent for so long is asked whether it is there, and has as long to answer
	controlRetry   = 500 * time.Millisecond // between tries to load, or to subscribe
	controlReload  = time.Minute            // between loads: Redis may have been emptied, or a message dropped
	maxRevocations = 100_000                // in force at the same time
)

// errTooManyRevocations refuses one more.
var errTooManyRevocations = errors.New("too many revocations are in force")

// The ops of control messages.
const (
	opDisconnect = "disconnect"
	opRevoke     = "revoke"
	opDrain      = "drain"
)

// controlMessage goes from one gateway's admin API to all gateways.
type controlMessage struct {
	Op         string     `json:"op"`
	From       string     `json:"from"` // instance that has done it already
	Account    string     `json:"account,omitempty"`
	Connection string     `json:"connection,omitempty"`
	TokenID    string     `json:"tokenId,omitempty"`
	Gateway    string     `json:"gateway,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	At         *time.Time `json:"at,omitempty"`
	Until      *time.Time `json:"until,omitempty"`
}

// control receives messages from the Pub/Sub channel. Revocations that were published while it could
// not receive are loaded from Redis.
type control struct {
	rdb      redis.UniversalClient
	keys     bus.Keys
	hub      *ws.Hub
	apply    func(controlMessage)
	log      *slog.Logger
	instance string
	loaded   atomic.Bool   // the revocations of Redis have been here once
	hearing  atomic.Bool   // the channel is subscribed to
	missed   chan struct{} // holds one: messages may have been missed
	orders   *prometheus.CounterVec
}

func newControl(rdb redis.UniversalClient, keys bus.Keys, hub *ws.Hub, log *slog.Logger, reg prometheus.Registerer, apply func(controlMessage)) *control {
	c := &control{
		rdb: rdb, keys: keys, hub: hub, apply: apply, log: log, instance: uuid.NewString(), missed: make(chan struct{}, 1),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_control_orders_total", Help: "Orders of other gateways' admin calls that were heard.",
		}, []string{"op"}),
	}
	reg.MustRegister(c.orders, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_revocations", Help: "Revocations in force.",
	}, func() float64 { return float64(len(hub.Revocations())) }))
	return c
}

// run receives messages, and knows the revocations, until ctx ends.
func (c *control) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return c.listen(ctx) })
	g.Go(func() error { return c.reload(ctx) })
	return g.Wait()
}

// listen receives messages, from one subscription after the other.
func (c *control) listen(ctx context.Context) error {
	for {
		err := c.subscribe(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(controlRetry):
			c.log.Debug("the control channel was lost", "err", err)
		}
	}
}

// subscribe receives messages until the channel is lost. A connection that broke silently is lost
// too.
func (c *control) subscribe(ctx context.Context) error {
	sub := c.rdb.Subscribe(ctx, c.keys.Control())
	defer c.hearing.Store(false)
	defer func() { _ = sub.Close() }()                         // nothing is written to it
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // a read does not end with ctx
	asked := false
	for {
		m, err := sub.ReceiveTimeout(ctx, controlPing)
		if errors.Is(err, os.ErrDeadlineExceeded) && !asked {
			asked, err = true, sub.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		asked = false
		switch m := m.(type) {
		case *redis.Subscription:
			c.hearing.Store(true)
			select {
			case c.missed <- struct{}{}:
			default: // it will be looked at anyway
			}
		case *redis.Message:
			c.handleMessage(m.Payload)
		}
	}
}

// reload loads the revocations each time the channel is there again, since any of
// them may have been missed, and now and then.
func (c *control) reload(ctx context.Context) error {
	for {
		next := controlReload
		switch err := c.load(ctx); {
		case errors.Is(err, errTooManyRevocations):
			c.log.Error("redis lacks revocations and cannot take them", "err", err)
		case err != nil:
			c.log.Debug("revocations cannot be loaded", "err", err)
			next = controlRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.missed:
		case <-time.After(next):
		}
	}
}

func (c *control) handleMessage(payload string) {
	var message controlMessage
	if err := json.Unmarshal([]byte(payload), &message); err != nil {
		c.log.Warn("a message on the control channel cannot be read", "err", err)
		return
	}
	if message.From == c.instance {
		return
	}
	switch message.Op {
	case opDisconnect, opRevoke, opDrain:
		c.orders.WithLabelValues(message.Op).Inc()
		c.apply(message)
	default:
		c.log.Warn("a message on the control channel has an unknown op", "op", message.Op)
	}
}

// publish tells all gateways, and how many subscribers heard it, this one included.
func (c *control) publish(ctx context.Context, message controlMessage) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	message.From = c.instance
	payload, err := json.Marshal(message)
	if err != nil {
		return 0, fmt.Errorf("encode control message: %w", err)
	}
	n, err := c.rdb.Publish(ctx, c.keys.Control(), payload).Result()
	if err != nil {
		return 0, fmt.Errorf("publish control message: %w", err)
	}
	return n, nil
}

// keep writes a revocation down for gateways that start later or cannot hear now.
func (c *control) keep(ctx context.Context, list ...ws.Revocation) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	key := c.keys.Revoked()
	if err := c.rdb.ZRemRangeByScore(ctx, key, "-inf", seconds(time.Now())).Err(); err != nil {
		return fmt.Errorf("forget old revocations: %w", err)
	}
	n, err := c.rdb.ZCard(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("count revocations: %w", err)
	}
	if n+int64(len(list)) > maxRevocations {
		return errTooManyRevocations
	}
	members := make([]redis.Z, 0, len(list))
	for _, v := range list {
		members = append(members, redis.Z{Score: float64(v.Until.Unix()), Member: member(v)})
	}
	if err := c.rdb.ZAddGT(ctx, key, members...).Err(); err != nil {
		return fmt.Errorf("keep revocation: %w", err)
	}
	return nil
}

// load learns the revocations that Redis has, and gives it those that it lacks,
// because it was emptied.
func (c *control) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	have, err := c.rdb.ZRangeByScoreWithScores(ctx, c.keys.Revoked(), &redis.ZRangeBy{
		Min: "(" + seconds(time.Now()), Max: "+inf", Count: maxRevocations,
	}).Result()
	if err != nil {
		return fmt.Errorf("load revocations: %w", err)
	}
	kept := make(map[string]bool, len(have))
	list := make([]ws.Revocation, 0, len(have))
	for _, z := range have {
		text, _ := z.Member.(string)
		v, ok := parseMember(text, z.Score)
		if !ok {
			c.log.Warn("a revocation in redis cannot be read")
			continue
		}
		kept[text] = true
		list = append(list, v)
	}
	c.hub.Revoke(list...)
	c.loaded.Store(true)
	var lost []ws.Revocation
	for _, v := range c.hub.Revocations() {
		if !kept[member(v)] {
			lost = append(lost, v)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	c.log.Info("redis lacks revocations; it gets them again", "revocations", len(lost))
	return c.keep(ctx, lost...)
}
