package gateway_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// subscriberID returns the id of the first subscribed connection of a Redis server.
func subscriberID(t *testing.T, rdb redis.UniversalClient) string {
	t.Helper()
	list, err := rdb.Do(t.Context(), "CLIENT", "LIST", "TYPE", "PUBSUB").Text()
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(list, " ")
	return id
}

// A gateway whose connection to Redis no longer answers subscribes to the channel on another one.
func TestControlChannelHangs(t *testing.T) {
	t.Parallel() // it waits most of the time
	srv := testenv.RedisServer(t)
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	direct, err := redisconn.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Close() })
	u.Host = proxy.Addr()
	w := newWorldOn(t, u.String(), bus.Keys{}, gateway.Config{})
	w.awaitReady()

	before := subscriberID(t, direct)
	proxy.PauseReplies()
	w.awaitReply("another connection", func() reply {
		return reply{json: map[string]any{"id": subscriberID(t, direct)}}
	}, func(r reply) bool { return r.json["id"] != before })
	proxy.Resume()

	n := w.currentNode()
	conn, _ := n.dial(w.signToken("user:u1", ""))
	const message = `{"op":"disconnect","account":"user:u1","from":"another"}`
	w.awaitReply("a subscriber", func() reply {
		receivers, err := direct.Publish(t.Context(), w.keys.Control(), message).Result()
		return reply{status: int(receivers), json: map[string]any{"err": err}}
	}, func(r reply) bool { return r.status > 0 })
	awaitClose(t, conn, 4410)
}
