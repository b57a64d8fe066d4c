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
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	controlTimeout = 5 * time.Second        // limit of a series of Redis commands
	controlPing    = 3 * time.Second        // silence before a ping, and again until the ping must be answered
	controlRetry   = 500 * time.Millisecond // wait before another attempt to load or to subscribe
	controlReload  = time.Minute            // time between two loads, since Redis may have been emptied or a message dropped
	maxRevocations = 100_000                // revocations that Redis may hold
)

var errTooManyRevocations = errors.New("too many revocations are in force")

// The operations of control messages.
const (
	opDisconnect = "disconnect"
	opRevoke     = "revoke"
	opDrain      = "drain"
)

// controlMessage passes a call of one gateway's admin API to all gateways.
type controlMessage struct {
	Op         string     `json:"op"`
	From       string     `json:"from"` // instance that has applied the call already
	Account    string     `json:"account,omitempty"`
	Connection string     `json:"connection,omitempty"`
	TokenID    string     `json:"tokenId,omitempty"`
	Gateway    string     `json:"gateway,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	At         *time.Time `json:"at,omitempty"`
	Until      *time.Time `json:"until,omitempty"`
}

// revocation returns the revocation of a message whose operation is revoke. It returns false if
// the message is incomplete.
func (m *controlMessage) revocation() (ws.Revocation, bool) {
	hasTimes := m.At != nil && m.Until != nil
	hasOneTarget := (m.TokenID == "") != (m.Account == "")
	if !hasTimes || !hasOneTarget {
		return ws.Revocation{}, false
	}
	return ws.Revocation{
		TokenID: m.TokenID,
		Account: m.Account,
		At:      *m.At,
		Until:   *m.Until,
	}, true
}

// control receives messages from the Pub/Sub channel. It loads from Redis the revocations that were
// published while the channel was not subscribed.
type control struct {
	rdb      redis.UniversalClient
	keys     bus.Keys
	hub      *ws.Hub
	apply    func(controlMessage)
	log      *slog.Logger
	instance string
	received *prometheus.CounterVec

	loaded     atomic.Bool   // revocations were loaded from Redis at least once
	subscribed atomic.Bool   // messages of the channel arrive
	reload     chan struct{} // holds one signal: messages may have been missed
}

func newControl(
	rdb redis.UniversalClient, keys bus.Keys, hub *ws.Hub, log *slog.Logger, reg prometheus.Registerer, apply func(controlMessage),
) *control {
	c := &control{
		rdb:      rdb,
		keys:     keys,
		hub:      hub,
		apply:    apply,
		log:      log,
		instance: uuid.NewString(),
		reload:   make(chan struct{}, 1),
	}
	c.received = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "realtime_gateway_control_orders_total",
		Help: "Admin calls received from other gateways.",
	}, []string{"op"})
	revocations := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "realtime_gateway_revocations",
		Help: "Revocations in force.",
	}, func() float64 { return float64(len(hub.Revocations())) })
	reg.MustRegister(c.received, revocations)
	return c
}

// run receives messages and keeps the revocations up to date until ctx ends.
func (c *control) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return c.receiveMessages(ctx) })
	g.Go(func() error { return c.reloadRevocations(ctx) })
	return g.Wait()
}

// receiveMessages receives messages until ctx ends. It subscribes again whenever the channel is
// lost.
func (c *control) receiveMessages(ctx context.Context) error {
	for {
		start := time.Now()
		err := c.readChannel(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(controlRetry - time.Since(start)): // at once if the channel was read for a time
			c.log.Debug("reading the control channel failed; retrying", "error", err)
		}
	}
}

// readChannel subscribes to the channel and receives messages until the subscription is lost. It
// pings a silent connection, since a connection can break without an error.
func (c *control) readChannel(ctx context.Context) error {
	client, err := redisconn.ChannelClient(ctx, c.rdb, c.keys.Control())
	if err != nil {
		return err
	}

	sub := client.Subscribe(ctx, c.keys.Control())
	defer c.subscribed.Store(false)
	defer func() { _ = sub.Close() }()                         // only reads, so there is nothing to flush
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // the end of ctx does not interrupt a read

	pinged := false
	for {
		received, err := sub.ReceiveTimeout(ctx, controlPing)
		if errors.Is(err, os.ErrDeadlineExceeded) && !pinged {
			pinged = true
			err = sub.Ping(ctx)
			if err == nil {
				continue
			}
		}
		isAlive := err == nil || (pinged && isErrorReply(err))
		if !isAlive {
			return err
		}
		pinged = false

		switch m := received.(type) {
		case *redis.Subscription:
			c.subscribed.Store(true)
			c.requestReload()
		case *redis.Message:
			c.handleMessage(m.Payload)
		}
	}
}

// isErrorReply reports whether the error is an answer of Redis. A Redis that cannot write to its disk
// answers pings with an error, and its channel works.
func isErrorReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func (c *control) requestReload() {
	select {
	case c.reload <- struct{}{}:
	default: // a reload is requested already
	}
}

func (c *control) handleMessage(payload string) {
	var message controlMessage
	err := json.Unmarshal([]byte(payload), &message)
	if err != nil {
		c.log.Warn("decoding a control message failed", "error", err)
		return
	}
	if message.From == c.instance {
		return
	}

	switch message.Op {
	case opDisconnect, opRevoke, opDrain:
		c.received.WithLabelValues(message.Op).Inc()
		c.apply(message)
	default:
		c.log.Warn("control message has an unknown operation", "operation", message.Op)
	}
}

// publishMessage sends a message to all gateways. It returns the number of gateways that received
// it, including this one.
func (c *control) publishMessage(ctx context.Context, message controlMessage) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()

	message.From = c.instance
	payload, err := json.Marshal(message)
	if err != nil {
		return 0, fmt.Errorf("encode control message: %w", err)
	}
	client, err := redisconn.ChannelClient(ctx, c.rdb, c.keys.Control())
	if err != nil {
		return 0, err
	}
	n, err := client.Publish(ctx, c.keys.Control(), payload).Result()
	if err != nil {
		return 0, fmt.Errorf("publish control message: %w", err)
	}
	return n, nil
}

// reloadRevocations loads the revocations whenever the channel was subscribed to again, because
// messages may have been missed, and at least every controlReload.
func (c *control) reloadRevocations(ctx context.Context) error {
	for {
		delay := controlReload
		err := c.syncRevocations(ctx)
		switch {
		case errors.Is(err, errTooManyRevocations):
			c.log.Error("storing lost revocations in Redis failed", "error", err)
		case err != nil:
			c.log.Debug("loading revocations failed; retrying", "error", err)
			delay = controlRetry
		}

		select {
		case <-ctx.Done():
			return nil
		case <-c.reload:
		case <-time.After(delay):
		}
	}
}

// syncRevocations loads the revocations that Redis has, and stores those that it has lost because
// it was emptied.
func (c *control) syncRevocations(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()

	stored, err := c.loadRevocations(ctx)
	if err != nil {
		return err
	}
	c.hub.Revoke(stored...)
	c.loaded.Store(true)

	missing := missingRevocations(c.hub.Revocations(), stored)
	if len(missing) == 0 {
		return nil
	}
	c.log.Info("storing revocations that Redis has lost", "count", len(missing))
	return c.storeRevocations(ctx, missing...)
}

func (c *control) loadRevocations(ctx context.Context) ([]ws.Revocation, error) {
	members, err := c.rdb.ZRangeByScoreWithScores(ctx, c.keys.Revoked(), &redis.ZRangeBy{
		Min:   "(" + unixSeconds(time.Now()),
		Max:   "+inf",
		Count: maxRevocations,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("load revocations: %w", err)
	}

	list := make([]ws.Revocation, 0, len(members))
	for _, z := range members {
		member, _ := z.Member.(string)
		v, ok := parseRevocation(member, z.Score)
		if !ok {
			c.log.Warn("parsing a revocation in Redis failed")
			continue
		}
		list = append(list, v)
	}
	return list, nil
}

// missingRevocations returns the revocations of known that are not in stored.
func missingRevocations(known, stored []ws.Revocation) []ws.Revocation {
	isStored := make(map[string]bool, len(stored))
	for _, v := range stored {
		isStored[encodeRevocation(v)] = true
	}
	var missing []ws.Revocation
	for _, v := range known {
		if !isStored[encodeRevocation(v)] {
			missing = append(missing, v)
		}
	}
	return missing
}

// storeRevocations stores revocations in Redis, for gateways that start later or are not subscribed
// at the moment.
func (c *control) storeRevocations(ctx context.Context, list ...ws.Revocation) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()

	key := c.keys.Revoked()
	err := c.rdb.ZRemRangeByScore(ctx, key, "-inf", unixSeconds(time.Now())).Err()
	if err != nil {
		return fmt.Errorf("remove old revocations: %w", err)
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
		members = append(members, redis.Z{
			Score:  float64(v.Until.Unix()),
			Member: encodeRevocation(v),
		})
	}
	err = c.rdb.ZAddGT(ctx, key, members...).Err()
	if err != nil {
		return fmt.Errorf("store revocations: %w", err)
	}
	return nil
}
