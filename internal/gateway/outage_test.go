package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// frameReader reads the frames of a connection one after the other.
type frameReader struct {
	w       *world
	conn    *websocket.Conn
	pending []string
}

type serverFrame struct {
	Op       string
	Seq      int64
	Accounts []struct {
		Seq       int64
		Recovered bool
		Snapshot  struct{ AvailableBalance int64 }
	}
}

func (f *frameReader) send(frame string) {
	f.w.Helper()
	err := f.conn.Write(f.w.Context(), websocket.MessageText, []byte(frame))
	if err != nil {
		f.w.Fatal(err)
	}
}

// expectFrame reads the next frame, which must have the op.
func (f *frameReader) expectFrame(op string) (frame serverFrame) {
	f.w.Helper()
	if len(f.pending) == 0 {
		ctx, cancel := context.WithTimeout(f.w.Context(), testTimeout)
		defer cancel()
		_, message, err := f.conn.Read(ctx)
		if err != nil {
			f.w.Fatalf("read frame %s: %v", op, err)
		}
		f.pending = strings.Split(string(message), "\n")
	}
	text := f.pending[0]
	f.pending = f.pending[1:]
	err := json.Unmarshal([]byte(text), &frame)
	if err != nil || frame.Op != op {
		f.w.Fatalf("frame: got %s (%v), want %s", text, err, op)
	}
	return frame
}

// expectEvents reads events with consecutive seqs.
func (f *frameReader) expectEvents(from, to int64) {
	f.w.Helper()
	for want := from; want <= to; want++ {
		event := f.expectFrame("event")
		if event.Seq != want {
			f.w.Errorf("seq of the event: got %d, want %d", event.Seq, want)
		}
	}
}

// expectSnapshot subscribes and checks the seq and the balance of the snapshot.
func (f *frameReader) expectSnapshot(sub string, seq, available int64) {
	f.w.Helper()
	f.send(`{"op":"subscribe","sub":"` + sub + `"}`)
	account := f.expectFrame("subscribed").Accounts[0]
	if account.Seq != seq {
		f.w.Errorf("seq of the snapshot: got %d, want %d", account.Seq, seq)
	}
	if got := account.Snapshot.AvailableBalance; got != available {
		f.w.Errorf("available balance of the snapshot: got %d, want %d", got, available)
	}
}

func (f *frameReader) unsubscribe(sub string) {
	f.w.Helper()
	f.send(`{"op":"unsubscribe","sub":"` + sub + `"}`)
	f.expectFrame("unsubscribed")
}

// expectRecovery resumes after seq 1 and checks that all events up to seq follow.
func (f *frameReader) expectRecovery(seq int64) {
	f.w.Helper()
	f.send(`{"op":"subscribe","sub":"resumed","after":{"user:u1":1}}`)
	account := f.expectFrame("subscribed").Accounts[0]
	if account.Seq != 1 {
		f.w.Errorf("seq of the resumed subscription: got %d, want 1", account.Seq)
	}
	if !account.Recovered {
		f.w.Error("recovered: got false, want true")
	}
	f.expectEvents(2, seq)
	f.unsubscribe("resumed")
}

// While Redis is unavailable, /readyz names each check that needs it. Afterwards it is ready again.
func TestReadinessWithoutRedis(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	for range 2 {
		w.awaitReady()
		srv.Kill()
		w.awaitReadiness("not ready", func(r reply) bool {
			if r.status != http.StatusServiceUnavailable {
				return false
			}
			checks := r.checks()
			for _, name := range []string{"redis", "streams", "control"} {
				if checks[name] == "ok" {
					return false
				}
			}
			return checks["core"] == "ok"
		})
		srv.Start()
	}
	w.awaitReady()
}

// After Redis was replaced, /readyz says that the clients' accounts are still being compared with the
// ledger, and the gateway stays ready.
func TestReadinessWhileAccountsAreCompared(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	w.awaitReady()
	w.creditPoints("user:u1", 100, "k1")
	own := w.signToken("user:u1", "")
	w.awaitAvailable("user:u1", own, "redis", 100)
	conn, _ := w.currentNode().dial(own)
	f := &frameReader{w: w, conn: conn}
	f.expectSnapshot("wallet", 1, 100)

	w.core.Close()
	srv.Kill()
	srv.Start()
	w.awaitReadiness("degraded", func(r reply) bool {
		checks := r.checks()
		return r.status == http.StatusOK && checks["redis"] == "ok" && checks["history"] != "ok"
	})
}

// During an outage of Redis, the state of an account comes from the core. Nothing that Redis said
// before is used. After the outage, subscriptions continue without a loss.
func TestOutageOfRedisShowsNothingOld(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	n := w.currentNode()
	own := w.signToken("user:u1", "")
	w.creditPoints("user:u1", 100, "k1")
	w.awaitAvailable("user:u1", own, "redis", 100)
	conn, _ := n.dial(own)
	f := &frameReader{w: w, conn: conn}
	f.expectSnapshot("before", 1, 100)

	for round := range 2 {
		seq := int64(round + 2)
		available := 100 * seq

		srv.Kill()
		w.awaitAvailable("user:u1", own, "core", available-100)
		w.creditPoints("user:u1", 100, fmt.Sprint("outage", round))
		r := w.get(w.balanceURL("user:u1"), own)
		r.expectStatus(t, http.StatusOK)
		r.expectHeader(t, "X-Balance-Source", "core")
		r.expectJSON(t, "availableBalance", float64(available))
		f.expectSnapshot("snapshot", seq, available)
		f.unsubscribe("snapshot")
		f.expectRecovery(seq)

		srv.Start()
		w.awaitAvailable("user:u1", own, "redis", available)
		f.expectEvents(seq, seq) // the subscription from before the outage
	}
}

// configureRedis changes a setting of the running Redis.
func (w *world) configureRedis(setting, value string) {
	w.Helper()
	err := w.rdb.ConfigSet(w.Context(), setting, value).Err()
	if err != nil {
		w.Fatal(err)
	}
}

// The balance over HTTP includes the events that a client got from the core's history, although
// Redis does not have them.
func TestBalanceIncludesEventsFromTheCore(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	own := w.signToken("user:u1", "")
	w.creditPoints("user:u1", 100, "k1")
	w.awaitAvailable("user:u1", own, "redis", 100)
	w.configureRedis("maxmemory", "1")
	w.creditPoints("user:u1", 100, "k2")
	w.creditPoints("user:u1", 100, "k3")

	conn, _ := w.currentNode().dial(own)
	f := &frameReader{w: w, conn: conn}
	f.send(`{"op":"subscribe","sub":"resumed","after":{"user:u1":2}}`) // from another gateway
	f.expectFrame("subscribed")
	f.expectEvents(3, 3)
	r := w.get(w.balanceURL("user:u1"), own)
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "seq", 3.0)
}

// While Redis answers reads and refuses writes, balances and snapshots come from the core.
func TestBalancesWhileRedisRefusesWrites(t *testing.T) {
	for name, tc := range map[string]struct {
		refuse func(w *world)
		accept func(w *world)
	}{
		"out of memory": {
			func(w *world) { w.configureRedis("maxmemory", "1") },
			func(w *world) { w.configureRedis("maxmemory", "0") },
		},
		"replicas are missing": {
			func(w *world) { w.configureRedis("min-replicas-to-write", "1") },
			func(w *world) { w.configureRedis("min-replicas-to-write", "0") },
		},
		"disk fails": {
			(*world).failBackgroundSave,
			func(w *world) { w.configureRedis("stop-writes-on-bgsave-error", "no") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testenv.RedisServer(t)
			w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{BehindAfter: time.Second})
			own := w.signToken("user:u1", "")
			w.creditPoints("user:u1", 100, "k1")
			w.awaitAvailable("user:u1", own, "redis", 100)
			conn, _ := w.currentNode().dial(own)
			f := &frameReader{w: w, conn: conn}
			f.expectSnapshot("before", 1, 100)

			tc.refuse(w)
			w.waitUntil("Redis refuses writes", func() bool { return w.rdb.Set(t.Context(), "probe", "x", 0).Err() != nil })
			w.creditPoints("user:u1", 100, "k2")
			w.awaitAvailable("user:u1", own, "core", 200)
			f.expectSnapshot("snapshot", 2, 200)
			f.unsubscribe("snapshot")
			ready := w.awaitReadiness("degraded", func(r reply) bool { return r.checks()["balances"] != "ok" })
			ready.expectStatus(t, http.StatusOK)

			tc.accept(w)
			w.awaitAvailable("user:u1", own, "redis", 200)
			f.expectEvents(2, 2)
		})
	}
}

// failBackgroundSave makes Redis refuse writes because it could not write its snapshot to disk.
func (w *world) failBackgroundSave() {
	w.Helper()
	directory, err := w.rdb.ConfigGet(w.Context(), "dir").Result()
	if err != nil {
		w.Fatal(err)
	}
	err = os.RemoveAll(directory["dir"])
	if err != nil {
		w.Fatal(err)
	}
	w.configureRedis("save", "3600 1")
	err = w.rdb.BgSave(w.Context()).Err()
	if err != nil {
		w.Fatal(err)
	}
}

// A Redis whose disk fails also refuses pings. The gateway keeps its subscription to the control
// channel, so that it stays ready.
func TestControlChannelWhileRedisRefusesPings(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	w.awaitReady()
	w.failBackgroundSave()
	w.waitUntil("Redis refuses pings", func() bool { return w.rdb.Ping(t.Context()).Err() != nil })
	// The gateway pings after 3 s of silence.
	w.waitUntil("the subscription is older than two pings", func() bool {
		list, err := w.rdb.Do(t.Context(), "CLIENT", "LIST", "TYPE", "PUBSUB").Text()
		if err != nil {
			t.Fatal(err)
		}
		var age int
		_, after, _ := strings.Cut(list, " age=")
		_, _ = fmt.Sscan(after, &age) // 0 if there is no subscriber
		return age >= 7
	})
}

// waitUntil waits until the condition holds.
func (w *world) waitUntil(condition string, holds func() bool) {
	w.Helper()
	deadline := time.Now().Add(testTimeout)
	for !holds() {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", testTimeout, condition)
		}
		<-time.After(pollInterval)
	}
}

// TestClientsOfOtherPartitionsAreServedWhileAMasterIsAway kills a master of a cluster and its
// replica. Connected and new clients of other partitions get events. Clients of the partitions that
// are away get the core's state. The load balancer keeps the gateway.
func TestClientsOfOtherPartitionsAreServedWhileAMasterIsAway(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t, time.Second)
	keys := bus.Keys{Partitions: 12}.WithDefaults()
	w := newWorldOn(t, cluster.URL(), keys, gateway.Config{})
	w.awaitReady()
	// The last partition is on another master than the first ones.
	away := userInPartition(keys, 0)
	works := userInPartition(keys, keys.Partitions-1)
	for _, user := range []string{away, works} {
		w.creditPoints(wallet.Account(user), 100, "before:"+user)
		w.awaitAvailable(user, w.signToken(user, ""), "redis", 100)
	}
	n := w.currentNode()
	connect := func(user string) *frameReader {
		conn, _ := n.dial(w.signToken(user, ""))
		return &frameReader{w: w, conn: conn}
	}
	connected := connect(works)
	connected.expectSnapshot("wallet", 1, 100)

	master := cluster.KillShard(keys.Stream(0))
	w.awaitReadiness("degraded, with the names of the partitions", func(r reply) bool {
		want := "the streams of 4 of 12 partitions cannot be read at the moment: 0 to 3"
		return r.status == http.StatusOK && r.json["status"] == "degraded" && r.checks()["streams"] == want
	})
	for _, user := range []string{away, works} {
		w.creditPoints(wallet.Account(user), 100, "during:"+user)
	}
	connected.expectEvents(2, 2)
	connect(works).expectSnapshot("new", 2, 200)
	waiting := connect(away)
	waiting.expectSnapshot("new", 2, 200)
	w.awaitAvailable(away, w.signToken(away, ""), "core", 200)

	master.Start()
	w.creditPoints(wallet.Account(away), 100, "after")
	waiting.expectEvents(3, 3)
	w.awaitReadiness("ready", func(r reply) bool { return r.json["status"] == "ready" })
}

// userInPartition returns the account of a user in a partition.
func userInPartition(keys bus.Keys, partition int) string {
	for i := 0; ; i++ {
		user := fmt.Sprint("user:u", i)
		if keys.Partition(user) == partition {
			return user
		}
	}
}
