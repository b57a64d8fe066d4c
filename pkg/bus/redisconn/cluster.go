package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// slotsInterval is how often a client reads the map of slots again in any case.
	slotsInterval = time.Second
	// slotsTimeout bounds one read of the map. If a node does not answer, go-redis asks another one.
	slotsTimeout = time.Second
	// pingTimeout bounds the search for a node that answers.
	pingTimeout = time.Second
)

// followCluster makes the client read the map of slots again as soon as a node answers that it does
// not serve a slot, or does not answer at all. By itself go-redis reads the map again only after
// some redirections, and otherwise at an interval.
func followCluster(rdb *redis.ClusterClient) {
	rdb.OnNewNode(func(node *redis.Client) { node.AddHook(&nodeHook{rdb: rdb}) })
}

// nodeHook watches the calls to one node of a cluster.
type nodeHook struct{ rdb *redis.ClusterClient }

// DialHook implements redis.Hook.
func (h *nodeHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (h *nodeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "cluster" {
			limited, cancel := context.WithTimeout(ctx, slotsTimeout)
			defer cancel()

			return next(limited, cmd)
		}

		err := next(ctx, cmd)
		h.noteError(ctx, err)
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (h *nodeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.noteError(ctx, err)
		return err
	}
}

// noteError reads the map of slots again after an error that may mean that it is outdated. go-redis
// reads it in the background, one read at a time, and pauses 200 ms between two reads.
func (h *nodeHook) noteError(ctx context.Context, err error) {
	if err != nil && mayHaveMoved(err) {
		h.rdb.ReloadState(ctx)
	}
}

// mayHaveMoved reports whether an error means that a node did not answer, or that it does not serve
// the slot.
func mayHaveMoved(err error) bool {
	if errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled) {
		return false
	}

	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}

	for _, prefix := range []string{"MOVED ", "ASK ", "CLUSTERDOWN", "READONLY", "MASTERDOWN"} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return true
		}
	}

	return false
}

// ChannelClient returns a client with which to subscribe to a Pub/Sub channel and to publish to it.
// The nodes of a cluster pass messages on to each other, so any master that answers will do. It is
// the one of the channel's slot, if that one answers.
func ChannelClient(ctx context.Context, rdb redis.UniversalClient, channel string) (redis.UniversalClient, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return rdb, nil
	}

	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()

	own, err := cluster.MasterForKey(ctx, channel)
	if err != nil {
		return nil, fmt.Errorf("find a node for the channel %s: %w", channel, err)
	}

	var answering atomic.Pointer[redis.Client]
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := node.Ping(ctx).Err()
		var reply redis.Error // a node that cannot write to its disk answers pings with an error
		hasAnswered := err == nil || errors.As(err, &reply)
		if hasAnswered && node == own {
			answering.Store(own)
		} else if hasAnswered {
			answering.CompareAndSwap(nil, node)
		}

		return err
	})

	found := answering.Load()
	if found == nil {
		return nil, fmt.Errorf("find a node for the channel %s: %w", channel, err)
	}

	return found, nil
}
