package relay_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
)

// startReplica starts a replica of a server, and returns when it has the server's data.
func startReplica(t *testing.T, master *testenv.Server) *testenv.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica := testenv.RedisServer(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	rdb := streamtest.Open(t, replica.URL())
	streamtest.WaitFor(t, "the replica's data", func() bool {
		return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	return replica
}

func TestSentinelFailoverIsServedSoon(t *testing.T) {
	t.Parallel()
	master := testenv.RedisServer(t)
	startReplica(t, master)
	sentinels := testenv.RedisSentinels(t, master.Addr(), 1, time.Second)
	w := newReadersWorld(t, sentinels.URL())
	master.Kill()
	streamtest.WaitFor(t, "a new master", func() bool { return sentinels.Master() != master.Addr() })
	for _, account := range w.accounts {
		w.waitUntilShown(t, account, w.src.lastSeq(account)+2)
	}
}

// TestReplicaBehindTheSameAddressIsServedAfterItsPromotion makes the address lead to a replica, which
// refuses writes, and promotes it, as managed services do.
func TestReplicaBehindTheSameAddressIsServedAfterItsPromotion(t *testing.T) {
	t.Parallel()
	master := testenv.RedisServer(t)
	replica := startReplica(t, master)
	proxy := testenv.NewProxy(t, master.Addr())
	w := newReadersWorld(t, "redis://"+proxy.Addr())
	proxy.SetTarget(replica.Addr())
	proxy.Cut()
	master.Kill()
	streamtest.WaitFor(t, "partitions that cannot be written", func() bool { return w.relay.CheckPartitions() != nil })
	err := streamtest.Open(t, replica.URL()).Do(t.Context(), "replicaof", "no", "one").Err()
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range w.accounts {
		w.waitUntilShown(t, account, w.src.lastSeq(account)+2)
	}
}
