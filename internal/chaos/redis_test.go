package chaos

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// redisForms are the values of -redis.
var redisForms = []string{"single", "aof", "sentinel", "cluster"}

// failoverTime is how long a node must be silent until another one takes its place.
const failoverTime = time.Second

// redisSystem is Redis in one of its forms. Its methods are called by the test's goroutine.
type redisSystem struct {
	w         *world
	form      string
	nodes     []*redisNode
	sentinels *testenv.Sentinels // of sentinel
	cluster   *testenv.Cluster   // of cluster
	rdb       redis.UniversalClient
}

// redisNode is one redis-server.
type redisNode struct {
	*testenv.Server
	link   *link         // through which others reach it, except in the forms of one node
	direct *redis.Client // without a proxy
}

// newRedis starts Redis in a form.
func (w *world) newRedis(form string) *redisSystem {
	w.Helper()
	s := &redisSystem{w: w, form: form}
	switch form {
	case "single":
		s.addNode(testenv.RedisServer(w))
	case "aof":
		s.addNode(testenv.RedisServer(w, "--appendonly", "yes", "--appendfsync", "always"))
	case "sentinel":
		s.startSentinels()
	case "cluster":
		s.startCluster()
	default:
		w.Fatalf("-redis must be one of %s, got %q", strings.Join(redisForms, ", "), form)
	}
	var err error
	s.rdb, err = redisconn.Open(s.checkURL())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = s.rdb.Close() })
	return s
}

func (s *redisSystem) addNode(server *testenv.Server) *redisNode {
	node := &redisNode{Server: server, direct: redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})}
	s.w.Cleanup(func() { _ = node.direct.Close() })
	s.nodes = append(s.nodes, node)
	return node
}

// startSentinels starts a master, a replica and three sentinels. All reach the nodes through proxies.
func (s *redisSystem) startSentinels() {
	s.w.Helper()
	for _, name := range []string{"redis-0", "redis-1"} {
		node := s.addNode(testenv.RedisServer(s.w, "--repl-diskless-sync-delay", "0"))
		node.link = s.w.newLink("clients to "+name, node.Addr())
		s.announce(node)
	}
	s.follow(s.nodes[1], s.nodes[0].link.proxy.Addr())
	s.sentinels = testenv.RedisSentinels(s.w, s.nodes[0].link.proxy.Addr(), 1, failoverTime)
}

// startCluster starts three masters and three replicas. Clients and replicas reach them through
// proxies.
func (s *redisSystem) startCluster() {
	s.w.Helper()
	s.cluster = testenv.RedisCluster(s.w, failoverTime)
	for i, server := range s.cluster.Servers() {
		node := s.addNode(server)
		node.link = s.w.newLink("clients to redis-"+string(rune('0'+i)), node.Addr())
		s.announce(node)
	}
	s.cluster.WaitUntilComplete()
}

// announce makes a node name the address of its proxy to others.
func (s *redisSystem) announce(node *redisNode) {
	s.w.Helper()
	_, port, _ := net.SplitHostPort(node.link.proxy.Addr()) // it is well formed
	settings := []string{"replica-announce-ip", "127.0.0.1", "replica-announce-port", port}
	if s.form == "cluster" {
		settings = []string{"cluster-announce-port", port}
	}
	for i := 0; i < len(settings); i += 2 {
		err := node.direct.ConfigSet(context.Background(), settings[i], settings[i+1]).Err()
		if err != nil {
			s.w.Fatalf("set %s: %v", settings[i], err)
		}
	}
}

// follow makes a node a replica of the master at an address.
func (s *redisSystem) follow(node *redisNode, master string) {
	s.w.Helper()
	host, port, _ := net.SplitHostPort(master) // it is well formed
	err := node.direct.ReplicaOf(context.Background(), host, port).Err()
	if err != nil {
		s.w.Fatalf("make a node a replica: %v", err)
	}
	s.w.waitUntil("the replica has the master's data", func() bool {
		return strings.Contains(node.readInfo(), "master_link_status:up")
	})
}

func (n *redisNode) readInfo() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return n.direct.Info(ctx, "replication").Val() // empty if it does not answer
}

// checkURL returns the URL for the checks at the end.
func (s *redisSystem) checkURL() string {
	switch s.form {
	case "sentinel":
		return s.sentinels.URL()
	case "cluster":
		url := "redis+cluster://" + s.nodes[0].link.proxy.Addr()
		for i, node := range s.nodes[1:] {
			url += map[bool]string{true: "?", false: "&"}[i == 0] + "addr=" + node.link.proxy.Addr()
		}
		return url
	}
	return s.nodes[0].URL()
}

// urlFor returns the URL for a program. A form of one node has a proxy for each program.
func (s *redisSystem) urlFor(name string) string {
	if len(s.nodes) == 1 {
		return "redis://" + s.w.addLink(name+" to redis", s.nodes[0].Addr()) + "/0"
	}
	return s.checkURL()
}

// pickNode returns a node with the role, master or slave. The draw chooses among them.
func (s *redisSystem) pickNode(role string, draw int) *redisNode {
	var list []*redisNode
	for _, node := range s.nodes {
		if strings.Contains(node.readInfo(), "role:"+role) {
			list = append(list, node)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[draw%len(list)]
}

// rejoin starts a node that was killed, as a replica.
func (s *redisSystem) rejoin(node *redisNode) {
	s.w.Helper()
	node.Start()
	s.announce(node)
	if s.form == "cluster" {
		s.cluster.WaitUntilComplete()
		return
	}
	s.follow(node, s.sentinels.Master())
}

// faults returns the faults of the form's processes.
func (s *redisSystem) faults() []*faultKind {
	const second = time.Second
	suspend := &faultKind{name: "suspend Redis", minHold: second / 10, maxHold: 3 * second, plan: func(_ *episode, r *rand.Rand) fault {
		return s.suspendFault(r.IntN(len(s.nodes)))
	}}
	switch s.form {
	case "single":
		return []*faultKind{suspend, {name: "restart Redis empty", maxHold: second, plan: func(e *episode, _ *rand.Rand) fault {
			return e.losing(fault{target: "redis", inject: s.nodes[0].Kill, heal: s.nodes[0].Start})
		}}}
	case "aof":
		return []*faultKind{suspend, {name: "crash Redis", maxHold: second, plan: func(_ *episode, _ *rand.Rand) fault {
			return fault{target: "redis", inject: s.nodes[0].Kill, heal: s.nodes[0].Start}
		}}}
	}
	return []*faultKind{
		suspend,
		{name: "crash a master of Redis", plan: func(e *episode, r *rand.Rand) fault {
			return e.losing(s.crashFault("master", r.Int()))
		}},
		{name: "crash a replica of Redis", plan: func(_ *episode, r *rand.Rand) fault {
			return s.crashFault("slave", r.Int())
		}},
		{name: "let a replica of Redis take over", plan: func(e *episode, r *rand.Rand) fault {
			draw := r.Int()
			return e.losing(fault{target: "redis", inject: func() { e.takeOver(draw) }})
		}},
	}
}

// suspendFault suspends a node. Its replica may take over meanwhile, so that entries are lost.
func (s *redisSystem) suspendFault(number int) fault {
	node := s.nodes[number]
	return fault{target: "redis", inject: node.Stop, heal: node.Continue}
}

// crashFault kills a node with a role. It joins again when the others have recovered.
func (s *redisSystem) crashFault(role string, draw int) fault {
	var crashed *redisNode
	inject := func() {
		crashed = s.pickNode(role, draw)
		if crashed != nil {
			crashed.Kill()
		}
	}
	restore := func() {
		if crashed != nil {
			s.rejoin(crashed)
		}
	}
	return fault{target: "redis", inject: inject, restore: restore}
}

// takeOver makes a replica the master, as an operator does.
func (e *episode) takeOver(draw int) {
	s := e.w.redis
	var err error
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.form == "sentinel" {
		err = s.sentinels.Failover()
	} else if node := s.pickNode("slave", draw); node != nil {
		err = node.direct.ClusterFailover(ctx).Err()
	}
	if err != nil {
		e.w.journal.note("let a replica take over: %v", err)
	}
}
