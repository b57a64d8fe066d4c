// Command centrifuge is a server on the centrifuge library, the engine of Centrifugo. It is tuned
// as the library's documentation advises: pooled write buffers, small read buffers, commands
// handled outside of the read loop, no compression, histories in memory, no calls to Redis for a
// connection. The flag --write-delay sets the library's option WriteDelay, which joins messages.
// The server checks the same tokens as the gateway.
//
// With --redis the histories are in Redis, as the documentation advises for servers whose clients
// must recover after a restart. Then --publish=false makes a server that leaves publishing to another
// one.
package main

import (
	"context"
	"flag"
	"net/http"
	"os"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/redroomrewards/realtime/bench/refserver"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func main() {
	flags := flag.NewFlagSet("centrifuge", flag.ExitOnError)
	var o options
	flags.DurationVar(&o.delay, "write-delay", 0,
		"how long messages to a connection are collected; 0: not at all")
	flags.BoolVar(&o.redis, "redis", false, "keep the histories in the Redis of REDIS_URL")
	flags.BoolVar(&o.publish, "publish", true, "publish the events of the streams")
	flags.IntVar(&o.history, "history", 100, "events in the history of an account; the gateway's memory has 100")
	refserver.Main("centrifuge", flags, func(v *auth.Verifier) (refserver.Server, error) {
		return newServer(v, &o)
	})
}

type options struct {
	delay   time.Duration
	redis   bool
	publish bool
	history int
}

type claimsKey struct{}

type server struct {
	node    *centrifuge.Node
	options *options
	seqs    map[string]int64 // by account: seq of the newest event
}

func newServer(v *auth.Verifier, o *options) (*server, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	if o.redis {
		err = keepHistoriesInRedis(node)
		if err != nil {
			return nil, err
		}
	}

	node.OnConnecting(func(ctx context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		claims, err := v.Verify(ctx, e.Token)
		if err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}

		reply := centrifuge.ConnectReply{
			Context:           context.WithValue(ctx, claimsKey{}, claims),
			Credentials:       &centrifuge.Credentials{UserID: claims.Subject},
			ReplyWithoutQueue: true,
		}
		if o.delay > 0 {
			reply.WriteDelay = o.delay
			reply.WriteWithTimer = true
			reply.MaxMessagesInFrame = -1
		}
		return reply, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			claims, ok := c.Context().Value(claimsKey{}).(*auth.Claims)
			if !ok || !claims.MaySee(e.Channel) {
				done(centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied)
				return
			}

			done(centrifuge.SubscribeReply{
				Options: centrifuge.SubscribeOptions{EnableRecovery: true},
			}, nil)
		})
	})
	err = node.Run()
	if err != nil {
		return nil, err
	}
	return &server{
		node:    node,
		options: o,
		seqs:    map[string]int64{},
	}, nil
}

// keepHistoriesInRedis makes the node publish through Redis. Its keys begin with the namespace.
func keepHistoriesInRedis(node *centrifuge.Node) error {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: os.Getenv("REDIS_URL")})
	if err != nil {
		return err
	}

	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{
		Prefix: os.Getenv("REALTIME_NAMESPACE") + ".centrifuge",
		Shards: []*centrifuge.RedisShard{shard},
	})
	if err != nil {
		return err
	}
	node.SetBroker(broker)
	return nil
}

// historyTTL is how long an event stays in the history of its account, as in the gateway's memory.
const historyTTL = time.Hour

// Deliver implements refserver.Server. The offsets of a history are the seqs of its account if the
// history begins with the first event.
func (p *server) Deliver(b tail.Batch) {
	if !p.options.publish {
		return
	}

	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		if d.Seq <= p.seqs[d.Account] {
			continue
		}

		p.seqs[d.Account] = d.Seq
		// Publishing in memory fails only after the node has stopped. If it fails with Redis, a client
		// misses the event, and the benchmark says so.
		_, _ = p.node.Publish(d.Account, d.ForAccount(),
			centrifuge.WithHistory(p.options.history, historyTTL))
	}
}

// Handle implements refserver.Server.
func (p *server) Handle(mux *http.ServeMux) {
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(p.node, centrifuge.WebsocketConfig{
		ReadBufferSize:             512,
		UseWriteBufferPool:         true,
		ProcessCommandsOffReadLoop: true,
		CheckOrigin:                func(*http.Request) bool { return true },
	}))
}
