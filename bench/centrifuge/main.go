// Command centrifuge is a server on the centrifuge library, the engine of
// Centrifugo, tuned as its documentation advises: pooled write buffers, small read
// buffers, commands handled off the read loop, no compression, histories in
// memory, no per-connection calls to Redis; --write-delay joins messages as its
// option WriteDelay does. It checks the same tokens as the gateway.
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
	delay := flags.Duration("write-delay", 0, "how long messages to a connection are gathered; 0: not")
	refserver.Main("centrifuge", flags, func(v *auth.Verifier) (refserver.Server, error) { return newPeer(v, *delay) })
}

type claimsKey struct{}

type peer struct {
	node *centrifuge.Node
	seqs map[string]int64 // of the accounts' newest events
}

func newPeer(v *auth.Verifier, delay time.Duration) (*peer, error) {
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
			reply.WriteDelay, reply.WriteWithTimer, reply.MaxMessagesInFrame = delay, true, -1
		}
		return reply, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			if claims, ok := c.Context().Value(claimsKey{}).(*auth.Claims); !ok || !claims.MaySee(e.Channel) {
				done(centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: true}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	return &peer{node: node, seqs: map[string]int64{}}, nil
}

// What the history of an account holds, as the gateway's memory does.
const (
	historySize = 100
	historyTTL  = time.Hour
)

// Deliver implements refserver.Server. A history's offsets are the account's seqs, as
// long as it begins with the first event.
func (p *peer) Deliver(b tail.Batch) {
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		if d.Seq <= p.seqs[d.Account] {
			continue
		}
		p.seqs[d.Account] = d.Seq
		// In memory: it fails only when the node is stopped.
		_, _ = p.node.Publish(d.Account, d.ForAccount(), centrifuge.WithHistory(historySize, historyTTL))
	}
}

// Handle implements refserver.Server.
func (p *peer) Handle(mux *http.ServeMux) {
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(p.node, centrifuge.WebsocketConfig{
		ReadBufferSize: 512, UseWriteBufferPool: true, ProcessCommandsOffReadLoop: true,
		CheckOrigin: func(*http.Request) bool { return true },
	}))
}
