package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// Rights are the calls that a program makes. Each is made in a form that changes nothing: it reads,
// or Redis refuses it after it has checked the rights, because an argument is invalid.
type Rights struct {
	program string
	calls   func(keys bus.Keys) []call
	publish func(keys bus.Keys) string // channel that the program publishes to; nil: none
}

// call is one command with harmless arguments.
type call struct {
	key  string // of the slot in a cluster
	args []any
}

// unusedAccount is an account that nobody has.
const unusedAccount = "user:realtime-doctor"

// CoreRights are the calls of a core.
var CoreRights = Rights{
	program: "core",
	calls: func(keys bus.Keys) []call {
		stream := keys.Stream(0)
		balance := keys.BalanceHash(unusedAccount)
		dedup := keys.Dedup(0, "realtime-doctor")
		return []call{
			{keys.Layout(), []any{"hmget", keys.Layout(), "version"}},
			{keys.Layout(), []any{"hset", keys.Layout(), "version", "2", "odd"}},
			{stream, []any{"xadd", stream, "invalid-id", "a", "b"}},
			{stream, []any{"xdel", stream, "invalid-id"}},
			{stream, []any{"xtrim", stream, "maxlen", "invalid"}},
			{stream, []any{"xrange", stream, "-", "+", "count", "1"}},
			{stream, []any{"xrevrange", stream, "+", "-", "count", "1"}},
			{stream, []any{"xlen", stream}},
			{balance, []any{"hmget", balance, "seq"}},
			{balance, []any{"hget", balance, "seq"}},
			{balance, []any{"hset", balance, "seq", "1", "odd"}},
			{balance, []any{"hincrby", balance, "seq", "invalid"}},
			{dedup, []any{"get", dedup}},
			{dedup, []any{"set", dedup, "1", "invalid"}},
			{dedup, []any{"exists", dedup}},
			{dedup, []any{"pexpire", dedup, "invalid"}},
			{dedup, []any{"del", dedup}}, // nobody has it
			{keys.Relayed(0), []any{"set", keys.Relayed(0), "1", "invalid"}},
			{keys.Forked(), []any{"get", keys.Forked()}},
			{keys.Forked(), []any{"set", keys.Forked(), "1", "invalid"}},
			{keys.Layout(), []any{"scan", "0", "match", keys.Layout(), "count", "1"}},
			{keys.Layout(), []any{"eval", "return 1", "0"}},
			{keys.Layout(), []any{"evalsha", "invalid", "0"}},
			{keys.Layout(), []any{"script", "load", "this is no Lua"}},
		}
	},
}

// GatewayRights are the calls of a gateway.
var GatewayRights = Rights{
	program: "gateway",
	calls: func(keys bus.Keys) []call {
		stream := keys.Stream(0)
		balance := keys.BalanceHash(unusedAccount)
		revoked := keys.Revoked()
		return []call{
			{keys.Layout(), []any{"hmget", keys.Layout(), "version"}},
			{stream, []any{"xread", "count", "1", "streams", stream, "0"}},
			{stream, []any{"xrange", stream, "-", "+", "count", "1"}},
			{stream, []any{"xrevrange", stream, "+", "-", "count", "1"}},
			{balance, []any{"hmget", balance, "seq"}},
			{keys.Relayed(0), []any{"get", keys.Relayed(0)}},
			{revoked, []any{"zcard", revoked}},
			{revoked, []any{"zrangebyscore", revoked, "+inf", "-inf"}},
			{revoked, []any{"zadd", revoked, "invalid", "a"}},
			{revoked, []any{"zremrangebyscore", revoked, "invalid", "invalid"}},
		}
	},
	publish: func(keys bus.Keys) string { return keys.Control() },
}

var rightsAdvice = advice{"give the user of --redis-url the rights of the page", "redis-acl.md"}

// checkRights makes the calls of the program. It also notices if Redis refuses writes.
func (r *redisCheck) checkRights(ctx context.Context) {
	var missing []string
	var refusal error
	for _, call := range r.cfg.Rights.calls(r.cfg.Keys) {
		err := r.makeCall(ctx, call)
		switch {
		case redis.HasErrorPrefix(err, "NOPERM"):
			missing = append(missing, describeCall(call, err))
		case isWriteRefusal(err):
			refusal = err
		case err != nil && !isReply(err):
			r.fail("rights", adviseConnection(err), "%s: %v", call.args[0], err)
			return
		}
	}
	if r.cfg.Rights.publish != nil {
		missing = append(missing, r.tryChannel(ctx, r.cfg.Rights.publish(r.cfg.Keys))...)
	}

	if refusal != nil {
		r.fail("writes", advice{"remove the cause that Redis names; until then events wait in the ledger", "doctor.md#redis"},
			"Redis refuses writes: %v", refusal)
	} else {
		r.ok("writes", "Redis accepts them")
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		r.fail("rights", rightsAdvice, "the %s may not %s", r.cfg.Rights.program, strings.Join(slices.Compact(missing), ", "))
		return
	}
	r.ok("rights", "the %s may make all of its calls", r.cfg.Rights.program)
}

func (r *redisCheck) makeCall(ctx context.Context, c call) error {
	cluster, isCluster := r.rdb.(*redis.ClusterClient)
	if !isCluster {
		return r.rdb.Do(ctx, c.args...).Err()
	}
	node, err := cluster.MasterForKey(ctx, c.key)
	if err != nil {
		return err
	}
	return node.Do(ctx, c.args...).Err()
}

// describeCall returns the command, and the key if the command itself is allowed.
func describeCall(c call, err error) string {
	command := fmt.Sprint(c.args[0])
	if command == "script" {
		command = "script|load"
	}
	if strings.Contains(err.Error(), "key") {
		command += " " + c.key
	}
	return command
}

// isReply reports whether Redis itself answered with the error.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// isWriteRefusal reports whether Redis refuses all writes.
func isWriteRefusal(err error) bool {
	for _, prefix := range []string{"READONLY", "MISCONF", "OOM", "NOREPLICAS", "CLUSTERDOWN"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// tryChannel subscribes to a channel and returns which of the rights for it are missing. A connection
// that has subscribed may not publish, so Redis refuses the message after it has checked the rights.
func (r *redisCheck) tryChannel(ctx context.Context, channel string) (missing []string) {
	node, err := redisconn.ChannelClient(ctx, r.rdb, channel)
	if err != nil {
		return []string{"reach the channel " + channel}
	}
	single, isSingle := node.(*redis.Client)
	if !isSingle {
		return nil
	}
	conn := single.Conn()
	defer func() { _ = conn.Close() }()

	for _, args := range [][]any{
		{"subscribe", channel},
		{"publish", channel, "x"},
		{"unsubscribe", channel},
	} {
		isAllowedToSubscribe := len(missing) == 0
		if args[0] == "publish" && !isAllowedToSubscribe {
			continue // the message would be sent
		}
		err := conn.Do(ctx, args...).Err()
		if redis.HasErrorPrefix(err, "NOPERM") {
			missing = append(missing, fmt.Sprintf("%s %s", args[0], channel))
		}
	}
	return missing
}
