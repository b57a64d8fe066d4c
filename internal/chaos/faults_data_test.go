package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// redisFaults are the faults of what Redis holds, of its settings and its connections.
func redisFaults() []*faultKind {
	const second = time.Second
	return []*faultKind{
		{name: "end connections of Redis", isSmall: true, plan: func(e *episode, _ *rand.Rand) fault {
			return e.redisFault("CLIENT", "KILL", "TYPE", "normal")
		}},
		{name: "empty Redis", plan: func(e *episode, _ *rand.Rand) fault {
			f := e.redisFault("FLUSHALL")
			f.target = "redis"
			return e.losing(f)
		}},
		{name: "trim a stream", plan: func(e *episode, r *rand.Rand) fault {
			stream := e.keys.Stream(e.keys.Partition(e.pickAccount(r)))
			return e.losing(e.redisFault("XTRIM", stream, "MAXLEN", fmt.Sprint(r.IntN(5))))
		}},
		{name: "evict a balance hash", plan: func(e *episode, r *rand.Rand) fault {
			return e.losing(e.redisFault("DEL", e.keys.BalanceHash(e.pickAccount(r))))
		}},
		{name: "evict a stream", plan: func(e *episode, r *rand.Rand) fault {
			return e.losing(e.redisFault("DEL", e.keys.Stream(e.keys.Partition(e.pickAccount(r)))))
		}},
		{name: "Redis evicts keys", minHold: second / 5, maxHold: second, plan: func(e *episode, _ *rand.Rand) fault {
			f := e.redisSetting("maxmemory", "2mb", "0")
			limit := f.inject
			f.inject = func() {
				e.repeatsEntries = true
				e.sendCommand("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
				limit()
			}
			unlimit := f.heal
			f.heal = func() {
				unlimit()
				e.sendCommand("CONFIG", "SET", "maxmemory-policy", "noeviction")
			}
			return e.losing(f)
		}},
		{name: "Redis loses its scripts", isSmall: true, plan: func(e *episode, _ *rand.Rand) fault {
			return e.redisFault("SCRIPT", "FLUSH")
		}},
		// As if the clock of Redis had been ahead: all later entries get ids after this one.
		{name: "ids of a stream jump ahead", plan: func(e *episode, r *rand.Rand) fault {
			stream := e.keys.Stream(e.keys.Partition(e.pickAccount(r)))
			ahead := time.Duration(r.Int64N(int64(100 * time.Hour)))
			return fault{target: "command", inject: func() {
				e.sendCommand("XSETID", stream, fmt.Sprintf("%d-0", time.Now().Add(ahead).UnixMilli()))
			}}
		}},
		{name: "Redis pauses writes", minHold: second / 5, maxHold: 4 * second, plan: func(e *episode, _ *rand.Rand) fault {
			return fault{
				target: "pause",
				inject: func() { e.sendCommand("CLIENT", "PAUSE", "60000", "WRITE") },
				heal: func() {
					e.w.waitUntil("Redis ends the pause", func() bool { return e.sendCommand("CLIENT", "UNPAUSE") })
				},
			}
		}},
		{name: "Redis out of memory", minHold: second / 5, maxHold: 2 * second, plan: func(e *episode, _ *rand.Rand) fault {
			return e.redisSetting("maxmemory", "1", "0")
		}},
		{name: "Redis read-only", minHold: second / 5, maxHold: 2 * second, plan: func(e *episode, _ *rand.Rand) fault {
			return e.redisSetting("min-replicas-to-write", "9", "0")
		}},
	}
}

func (e *episode) pickAccount(r *rand.Rand) string {
	accounts := e.load.accounts()
	return accounts[r.IntN(len(accounts))]
}

// losing marks a fault after which the streams are not complete.
func (e *episode) losing(f fault) fault {
	inject := f.inject
	f.inject = func() {
		e.lostStreams = true
		inject()
	}
	return f
}

// redisFault sends a command to Redis. Under other faults it may fail.
func (e *episode) redisFault(words ...string) fault {
	return fault{target: "command", inject: func() { e.sendCommand(words...) }}
}

// redisSetting changes a setting for a time.
func (e *episode) redisSetting(name, during, after string) fault {
	return fault{
		target: "setting " + name,
		inject: func() { e.sendCommand("CONFIG", "SET", name, during) },
		heal: func() {
			e.w.waitUntil("Redis accepts "+name, func() bool { return e.sendCommand("CONFIG", "SET", name, after) })
		},
	}
}

// sendCommand sends a command to each node of Redis that may have the key. It returns false if none
// has accepted it.
func (e *episode) sendCommand(words ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	args := make([]any, len(words))
	for i, word := range words {
		args[i] = word
	}
	done := false
	for _, node := range e.w.redis.nodes {
		err := node.direct.Do(ctx, args...).Err()
		if err != nil && !strings.HasPrefix(err.Error(), "MOVED") && !strings.HasPrefix(err.Error(), "READONLY") {
			e.w.journal.note("%s: %v", strings.Join(words, " "), err)
		}
		done = done || err == nil
	}
	return done
}
