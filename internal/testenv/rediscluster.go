package testenv

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3 // each has one replica
	clusterSlots   = 16384
)

// Cluster is a Redis Cluster of one test: three masters with one replica each. Its methods end the
// test if they fail. They must be called from one goroutine.
type Cluster struct {
	t     testing.TB
	nodes []*clusterNode // the first ones began as masters
}

// clusterNode is one redis-server of a cluster.
type clusterNode struct {
	*Server
	client  *redis.Client
	busPort string
	id      string
}

// RedisCluster starts a cluster for this test. The replica of a master that does not answer takes
// its place after nodeTimeout and about a second.
func RedisCluster(t testing.TB, nodeTimeout time.Duration) *Cluster {
	t.Helper()

	c := &Cluster{t: t}
	for range 2 * clusterMasters {
		c.startNode(nodeTimeout)
	}

	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()

	masters := c.nodes[:clusterMasters]
	for i, node := range masters {
		first := i * clusterSlots / clusterMasters
		last := (i+1)*clusterSlots/clusterMasters - 1
		c.must(node.client.ClusterAddSlotsRange(ctx, first, last).Err())
		c.must(node.client.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
	}

	// Gossip would take some seconds to introduce all nodes.
	for i, node := range c.nodes {
		for _, other := range c.nodes[i+1:] {
			host, port, _ := net.SplitHostPort(other.Addr())
			c.must(node.client.Do(ctx, "cluster", "meet", host, port, other.busPort).Err())
		}
	}

	c.waitFor(ctx, "each node knows the others", c.allNodes(func(node *clusterNode) bool {
		nodes := node.client.ClusterNodes(ctx).Val()
		return strings.Count(nodes, "\n") == len(c.nodes) && !strings.Contains(nodes, "handshake")
	}))

	for i, node := range c.nodes[clusterMasters:] {
		c.must(node.client.ClusterReplicate(ctx, masters[i].id).Err())
	}

	c.WaitUntilComplete()
	return c
}

// WaitUntilComplete waits until each master has a replica with its data, as all nodes see it.
func (c *Cluster) WaitUntilComplete() {
	c.t.Helper()

	ctx, cancel := context.WithTimeout(c.t.Context(), timeout)
	defer cancel()

	c.waitFor(ctx, "the cluster is complete", c.allNodes(func(node *clusterNode) bool {
		return isInSync(node.client.Info(ctx, "replication").Val()) && isComplete(node.readSlots(ctx)) &&
			strings.Contains(node.client.ClusterInfo(ctx).Val(), "cluster_state:ok")
	}))
}

// Servers returns the servers of all nodes. The first ones began as masters.
func (c *Cluster) Servers() []*Server {
	var servers []*Server
	for _, node := range c.nodes {
		servers = append(servers, node.Server)
	}

	return servers
}

// isInSync reports whether a node is a master or has copied its master's data.
func isInSync(replication string) bool {
	return strings.Contains(replication, "role:master") || strings.Contains(replication, "master_link_status:up")
}

// isComplete reports whether each range of slots has a master and a replica.
func isComplete(ranges []redis.ClusterSlot) bool {
	hasOneNode := func(r redis.ClusterSlot) bool { return len(r.Nodes) != 2 }
	return len(ranges) == clusterMasters && !slices.ContainsFunc(ranges, hasOneNode)
}

func (c *Cluster) startNode(nodeTimeout time.Duration) {
	c.t.Helper()

	busPort := strconv.Itoa(reservePort(c.t))
	server := RedisServer(c.t,
		"--cluster-enabled", "yes",
		"--cluster-port", busPort,
		"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
		"--cluster-require-full-coverage", "no",
		"--repl-diskless-sync-delay", "0",
		"--repl-ping-replica-period", "1", // a node lists a replica after its first ping
	)

	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	c.t.Cleanup(func() { _ = client.Close() })
	id, err := client.ClusterMyID(c.t.Context()).Result()
	c.must(err)
	c.nodes = append(c.nodes, &clusterNode{Server: server, client: client, busPort: busPort, id: id})
}

// URL returns redis+cluster:// with the addresses of all nodes.
func (c *Cluster) URL() string {
	url := "redis+cluster://" + c.nodes[0].Addr() + "?"
	for _, node := range c.nodes[1:] {
		url += "addr=" + node.Addr() + "&"
	}

	return strings.TrimSuffix(url, "&")
}

// MasterOf returns the server that has the key's slot. All servers must answer.
func (c *Cluster) MasterOf(key string) *Server {
	c.t.Helper()

	return c.masterOf(key, nil).Server
}

// WaitForFailover waits until another server than the crashed one has the key's slot.
func (c *Cluster) WaitForFailover(key string, crashed *Server) {
	c.t.Helper()

	ctx, cancel := context.WithTimeout(c.t.Context(), timeout)
	defer cancel()

	c.waitFor(ctx, "a replica is the master", func() bool { return c.masterOf(key, crashed) != nil })
}

// KillShard kills the master that has the key's slot, and first its replica, so that no server takes
// its place. It returns the master.
func (c *Cluster) KillShard(key string) *Server {
	c.t.Helper()

	master := c.masterOf(key, nil)
	slot := c.slotOf(master, key)
	for _, r := range master.readSlots(c.t.Context()) {
		for _, n := range r.Nodes[1:] {
			i := slices.IndexFunc(c.nodes, func(node *clusterNode) bool { return node.id == n.ID })
			if r.Start <= slot && slot <= r.End {
				c.nodes[i].Kill()
			}
		}
	}

	master.Kill()
	return master.Server
}

// masterOf returns the node that has the key's slot, or nil. It does not ask the crashed server.
func (c *Cluster) masterOf(key string, crashed *Server) *clusterNode {
	c.t.Helper()

	for _, node := range c.nodes {
		if node.Server != crashed && c.ownsSlot(node, c.slotOf(node, key)) {
			return node
		}
	}

	return nil
}

func (c *Cluster) slotOf(node *clusterNode, key string) int {
	slot, err := node.client.ClusterKeySlot(c.t.Context(), key).Result()
	c.must(err)
	return int(slot)
}

// readSlots returns the map of slots as the node sees it. CLUSTER SLOTS does not list nodes that
// failed.
func (n *clusterNode) readSlots(ctx context.Context) []redis.ClusterSlot {
	return n.client.ClusterSlots(ctx).Val() //nolint:staticcheck // CLUSTER SHARDS lists nodes that failed
}

// ownsSlot reports whether the node itself says that it is the slot's master.
func (c *Cluster) ownsSlot(node *clusterNode, slot int) bool {
	for _, r := range node.readSlots(c.t.Context()) {
		if r.Start <= slot && slot <= r.End {
			return r.Nodes[0].ID == node.id
		}
	}

	return false
}

// A SlotMove moves one slot and its keys from its master to another one.
type SlotMove struct {
	c        *Cluster
	slot     int
	from, to *clusterNode
}

// BeginSlotMove begins to move the key's slot to another master. Until Finish, the old master
// answers ASK for keys that were moved.
func (c *Cluster) BeginSlotMove(key string) *SlotMove {
	c.t.Helper()

	from := c.masterOf(key, nil)
	m := &SlotMove{c: c, slot: c.slotOf(from, key), from: from}
	for _, node := range c.nodes[:clusterMasters] {
		if node != m.from {
			m.to = node
		}
	}

	ctx := c.t.Context()
	c.must(m.to.client.Do(ctx, "cluster", "setslot", m.slot, "importing", m.from.id).Err())
	c.must(m.from.client.Do(ctx, "cluster", "setslot", m.slot, "migrating", m.to.id).Err())
	return m
}

// MoveKeys moves all keys that the slot has now.
func (m *SlotMove) MoveKeys() {
	m.c.t.Helper()

	ctx := m.c.t.Context()
	host, port, _ := net.SplitHostPort(m.to.Addr())
	for {
		keys, err := m.from.client.ClusterGetKeysInSlot(ctx, m.slot, 100).Result()
		m.c.must(err)
		if len(keys) == 0 {
			return
		}

		args := []any{"migrate", host, port, "", 0, 5000, "keys"}
		for _, key := range keys {
			args = append(args, key)
		}

		m.c.must(m.from.client.Do(ctx, args...).Err())
	}
}

// Finish moves the remaining keys and gives the slot to its new master.
func (m *SlotMove) Finish() {
	m.c.t.Helper()

	m.MoveKeys()
	for _, node := range []*clusterNode{m.to, m.from} {
		m.c.must(node.client.Do(m.c.t.Context(), "cluster", "setslot", m.slot, "node", m.to.id).Err())
	}
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("prepare the cluster: %v", err)
	}
}

// waitFor waits until a condition holds.
func (c *Cluster) waitFor(ctx context.Context, condition string, holds func() bool) {
	c.t.Helper()

	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("not within %s: %s", timeout, condition)
		}
	}
}

// allNodes returns a condition that holds if it holds for each node.
func (c *Cluster) allNodes(holds func(*clusterNode) bool) func() bool {
	return func() bool {
		return !slices.ContainsFunc(c.nodes, func(node *clusterNode) bool { return !holds(node) })
	}
}
