package testenv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func TestReplicaOfAKilledMasterTakesItsPlace(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t, time.Second)
	master := cluster.MasterOf("k")
	master.Kill()
	cluster.WaitForFailover("k", master)
}

func TestMovedSlotHasItsKeys(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t, time.Second)
	before := cluster.MasterOf("k")
	if err := dialRedis(t, before.URL()).Set(t.Context(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	move := cluster.BeginSlotMove("k")
	move.MoveKeys()
	err := dialRedis(t, before.URL()).Get(t.Context(), "k").Err()
	if !redis.HasErrorPrefix(err, "ASK") {
		t.Errorf("get from the old master during the move: got error %v, want ASK", err)
	}
	move.Finish()
	after := cluster.MasterOf("k")
	if after == before {
		t.Error("the slot has the same master after the move")
	}
	err = dialRedis(t, after.URL()).Get(t.Context(), "k").Err()
	if errors.Is(err, redis.Nil) {
		t.Error("the new master does not have the key")
	}
}
