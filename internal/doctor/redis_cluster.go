package doctor

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// clusterSlots is the number of slots of a Redis Cluster.
const clusterSlots = 16384

// checkCluster checks that the URL fits the kind of Redis, and that each slot of a cluster is served.
func (r *redisCheck) checkCluster(ctx context.Context) {
	cluster, isCluster := r.rdb.(*redis.ClusterClient)
	isEnabled := r.masters[0].fields["cluster_enabled"] == "1"
	switch {
	case isEnabled && !isCluster:
		r.fail("cluster", advice{"use redis+cluster:// in --redis-url", "doctor.md#redis"},
			"the server belongs to a cluster, but the URL is that of a single server")
		return
	case !isCluster:
		r.ok("cluster", "not a cluster")
		return
	}

	shards, err := cluster.ClusterShards(ctx).Result()
	if err != nil {
		r.fail("cluster", advice{"the user must have the rights for clusters", "redis-acl.md"}, "%v", err)
		return
	}
	served := 0
	for _, shard := range shards {
		for _, slots := range shard.Slots {
			served += int(slots.End - slots.Start + 1)
		}
	}
	if served < clusterSlots {
		r.fail("cluster", advice{"redis-cli --cluster fix", "doctor.md#redis"}, "only %d of %d slots are served", served, clusterSlots)
		return
	}
	r.ok("cluster", "all slots are served by %d masters", len(r.masters))
}
