package testenv_test

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func TestSentinelsPromoteTheReplica(t *testing.T) {
	t.Parallel()
	master := testenv.RedisServer(t)
	replica := testenv.RedisServer(t)
	client := redis.NewClient(&redis.Options{Addr: replica.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := client.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	sentinels := testenv.RedisSentinels(t, master.Addr(), 1, 500*time.Millisecond)
	if got := sentinels.Master(); got != master.Addr() {
		t.Errorf("master: got %s, want %s", got, master.Addr())
	}
	master.Kill()
	for deadline := time.Now().Add(5 * time.Minute); sentinels.Master() != replica.Addr(); {
		if time.Now().After(deadline) {
			t.Fatal("the replica was not promoted within five minutes")
		}
	}
}
