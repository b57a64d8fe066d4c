// Command centrifuge is a server on the centrifuge library, the engine of Centrifugo. It is tuned
// as the library's documentation advises: pooled write buffers, small read buffers, commands
// handled outside of the read loop, no compression, histories in memory, no calls to Redis for a
// connection. The flag --write-delay sets the library's option WriteDelay, which joins messages.
// The server checks the same tokens as the gateway.
package main

import (
	"context"
	"flag"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/redroomrewards/realtime/bench/refserver"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func main() {
	flags := flag.NewFlagSet("centrifuge", flag.ExitOnError)
	delay := flags.Duration("write-delay", 0,
		"how long messages to a connection are collected; 0: not at all")
	refserver.Main("centrifuge", flags, func(v *auth.Verifier) (refserver.Server, error) {
		return newServer(v, *delay)
	})
}

type claimsKey struct{}

type server struct {
	node *centrifuge.Node
	seqs map[string]int64 // by account: seq of the newest event
}

func newServer(v *auth.Verifier, delay time.Duration) (*server, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
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
		if delay > 0 {
			reply.WriteDelay = delay
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
	return &server{node: node, seqs: map[string]int64{}}, nil
}

// Limits of an account's history. They are the limits of the gateway's memory.
const (
	historySize = 100
	historyTTL  = time.Hour
)

// Deliver implements refserver.Server. The offsets of a history are the seqs of its account if the
// history begins with the first event.
func (p *server) Deliver(b tail.Batch) {
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		if d.Seq <= p.seqs[d.Account] {
			continue
		}

		p.seqs[d.Account] = d.Seq
		// Publishing in memory fails only after the node has stopped.
		_, _ = p.node.Publish(d.Account, d.ForAccount(),
			centrifuge.WithHistory(historySize, historyTTL))
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
