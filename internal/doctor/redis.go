package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// RedisConfig describes a Redis, and what one program does with it.
type RedisConfig struct {
	URL    string
	Keys   bus.Keys
	Rights Rights // the calls that the program makes
}

// Redis returns the checks of the Redis that carries the events.
func Redis(cfg RedisConfig) Area {
	return Area{name: "redis", run: func(ctx context.Context, c *collector) {
		checkRedis(ctx, c, cfg)
	}}
}

// leastRedis is the oldest major version of Redis.
const leastRedis = 7

func checkRedis(ctx context.Context, c *collector, cfg RedisConfig) {
	rdb, err := redisconn.Open(cfg.URL)
	if err != nil {
		c.fail("url", advice{"correct --redis-url", "redis-acl.md"}, "%v", err)
		return
	}
	defer func() { _ = rdb.Close() }()

	masters, err := readMasters(ctx, rdb)
	if err != nil {
		c.fail("reachable", adviseConnection(err), "%v", err)
		return
	}
	r := &redisCheck{collector: c, cfg: cfg, rdb: rdb, masters: masters}
	r.checkReachable()
	r.checkVersion()
	r.checkRole()
	r.checkCluster(ctx)
	r.checkEviction()
	r.checkMemory()
	r.checkPersistence(ctx)
	r.checkRights(ctx)
	r.checkClock()
	r.checkLayout(ctx)
}

type redisCheck struct {
	*collector
	cfg     RedisConfig
	rdb     redis.UniversalClient
	masters []serverInfo // of a cluster all, otherwise one
}

// serverInfo is the answer of INFO of one server.
type serverInfo struct {
	addr      string
	fields    map[string]string
	lead      time.Duration // how far its clock is ahead of this machine's
	roundTrip time.Duration
	hasClock  bool
}

// readMasters reads INFO from each server that is written to.
func readMasters(ctx context.Context, rdb redis.UniversalClient) ([]serverInfo, error) {
	cluster, isCluster := rdb.(*redis.ClusterClient)
	if !isCluster {
		info, err := readInfo(ctx, rdb, "")
		return []serverInfo{info}, err
	}

	var mu sync.Mutex // protects masters, since ForEachMaster calls in parallel
	var masters []serverInfo
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := readInfo(ctx, node, node.Options().Addr)
		if err != nil {
			return fmt.Errorf("%s: %w", node.Options().Addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, info)
		return nil
	})
	return masters, err
}

// readInfo also measures the server's clock. The first call opens the connection.
func readInfo(ctx context.Context, rdb redis.Cmdable, addr string) (serverInfo, error) {
	err := rdb.Ping(ctx).Err()
	if err != nil && !isWriteRefusal(err) { // a Redis that cannot save refuses even this
		return serverInfo{}, err
	}
	before := time.Now()
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		return serverInfo{}, err
	}

	info := serverInfo{addr: addr, fields: map[string]string{}, roundTrip: time.Since(before)}
	for line := range strings.Lines(text) {
		name, value, isField := strings.Cut(strings.TrimSpace(line), ":")
		if isField {
			info.fields[name] = value
		}
	}
	microseconds, err := strconv.ParseInt(info.fields["server_time_usec"], 10, 64)
	if err == nil {
		middle := before.Add(info.roundTrip / 2)
		info.lead = time.UnixMicro(microseconds).Sub(middle)
		info.hasClock = true
	}
	return info, nil
}

// number returns a field that is a number, or 0.
func (i *serverInfo) number(field string) int64 {
	n, _ := strconv.ParseInt(i.fields[field], 10, 64)
	return n
}

// adviseConnection returns what to do about an error of the first call.
func adviseConnection(err error) advice {
	var reply redis.Error
	text := ""
	if errors.As(err, &reply) {
		text = reply.Error()
	}
	switch {
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		return advice{"put the user and the password into --redis-url", "redis-acl.md"}
	case strings.HasPrefix(text, "NOPERM"):
		return advice{"give the user the rights of the page", "redis-acl.md"}
	case strings.HasPrefix(text, "LOADING"):
		return advice{"wait until Redis has read its data", "doctor.md#redis"}
	}
	return advice{"Redis must run and accept this machine (bind, protected-mode, firewall, TLS with rediss://)", "doctor.md#redis"}
}

func (r *redisCheck) checkReachable() {
	info := r.masters[0]
	roundTrip := roundUp(info.roundTrip)
	if info.fields["redis_version"] == "" { // such as the embedded Redis of core dev
		r.ok("reachable", "in %s", roundTrip)
		return
	}

	kind := info.fields["redis_mode"]
	if len(r.masters) > 1 {
		kind += fmt.Sprintf(" of %d masters", len(r.masters))
	}
	r.ok("reachable", "Redis %s, %s, in %s", info.fields["redis_version"], kind, roundTrip)
}

func (r *redisCheck) checkVersion() {
	for _, info := range r.masters {
		version := info.fields["redis_version"]
		major, _, _ := strings.Cut(version, ".")
		n, err := strconv.Atoi(major)
		switch {
		case err != nil:
			r.skip("version", "the server does not tell its version")
			return
		case n < leastRedis:
			r.fail("version", advice{"upgrade to Redis 7 or newer", "doctor.md#redis"}, "%sRedis %s", info.prefix(), version)
			return
		}
	}
	r.ok("version", "%s", r.masters[0].fields["redis_version"])
}

// prefix names a server of a cluster.
func (i *serverInfo) prefix() string {
	if i.addr == "" {
		return ""
	}
	return i.addr + ": "
}

func (r *redisCheck) checkRole() {
	for _, info := range r.masters {
		if info.fields["role"] == "slave" {
			r.fail("role", advice{"--redis-url must lead to the master, or use redis+sentinel:// or redis+cluster://", "doctor.md#redis"},
				"%sthe server is a replica, which cannot be written", info.prefix())
			return
		}
	}
	r.ok("role", "master")
}

func (r *redisCheck) checkEviction() {
	for _, info := range r.masters {
		policy := info.fields["maxmemory_policy"]
		eviction := advice{"set maxmemory-policy to noeviction", "doctor.md#redis"}
		switch {
		case policy == "":
			r.skip("eviction", "%sthe server does not tell its maxmemory-policy", info.prefix())
			return
		case policy != "noeviction" && info.number("maxmemory") == 0:
			r.warn("eviction", eviction, "%smaxmemory-policy is %s; it takes effect when maxmemory is set", info.prefix(), policy)
			return
		case policy != "noeviction":
			r.fail("eviction", eviction,
				"%smaxmemory-policy is %s, so Redis deletes events and balances when its memory is full", info.prefix(), policy)
			return
		}
	}
	r.ok("eviction", "maxmemory-policy is noeviction")
}

// fullMemory is the part of maxmemory, in percent, from which on there is a warning.
const fullMemory = 80

func (r *redisCheck) checkMemory() {
	for _, info := range r.masters {
		limit := info.number("maxmemory")
		if limit == 0 {
			continue
		}
		percent := info.number("used_memory") * 100 / limit
		memory := advice{"raise maxmemory; at 100 % Redis refuses writes, and events wait in the ledger", "streams.md#trimming"}
		switch {
		case percent >= 100:
			r.fail("memory", memory, "%s%d %% of maxmemory are used", info.prefix(), percent)
			return
		case percent >= fullMemory:
			r.warn("memory", memory, "%s%d %% of maxmemory are used", info.prefix(), percent)
			return
		}
	}
	r.ok("memory", "%s MB used", strconv.FormatInt(r.masters[0].number("used_memory")>>20, 10))
}

func (r *redisCheck) checkPersistence(ctx context.Context) {
	for _, info := range r.masters {
		isBroken := info.fields["rdb_last_bgsave_status"] == "err" || info.fields["aof_last_write_status"] == "err"
		if isBroken {
			r.fail("persistence", advice{"look into the log of Redis; it refuses writes while it cannot save", "doctor.md#redis"},
				"%sthe last save to the disk failed", info.prefix())
			return
		}
	}

	persistence := advice{
		"set appendonly to yes; otherwise a restart loses dead letters and revocations, and the core publishes again",
		"doctor.md#redis",
	}
	for _, info := range r.masters {
		if info.fields["aof_enabled"] == "1" {
			continue
		}
		saves, isKnown := r.readSaves(ctx)
		if isKnown && saves == "" {
			r.warn("persistence", persistence, "%sappendonly is off and there are no snapshots, so a restart is empty", info.prefix())
			return
		}
		r.warn("persistence", persistence, "%sappendonly is off, so a crash loses what is newer than the last snapshot", info.prefix())
		return
	}
	r.ok("persistence", "appendonly is on")
}

// readSaves returns the setting save, which only some users may read.
func (r *redisCheck) readSaves(ctx context.Context) (saves string, isKnown bool) {
	values, err := r.rdb.ConfigGet(ctx, "save").Result()
	saves, isKnown = values["save"]
	return saves, err == nil && isKnown
}

func (r *redisCheck) checkClock() {
	worst := serverInfo{}
	for _, info := range r.masters {
		if info.hasClock && (!worst.hasClock || info.lead.Abs() > worst.lead.Abs()) {
			worst = info
		}
	}
	if !worst.hasClock {
		r.skip("clock", "the server does not tell its time")
		return
	}
	r.compareClock(worst.lead, worst.roundTrip)
}

func (r *redisCheck) checkLayout(ctx context.Context) {
	found, err := redisconn.FindLayout(ctx, r.rdb, r.cfg.Keys)
	switch {
	case errors.Is(err, bus.ErrLayout):
		r.fail("layout", layoutAdvice, "%v", err)
	case err != nil:
		r.fail("layout", advice{"the user must have the rights of the page", "redis-acl.md"}, "%v", err)
	case !found:
		r.ok("layout", "none yet; the first core stores %s (namespace/partitions)", r.cfg.Keys)
	default:
		r.ok("layout", "%s (namespace/partitions)", r.cfg.Keys)
	}
}
