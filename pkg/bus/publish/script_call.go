package publish

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// The places of EVALSHA's arguments: the command, the script's hash, the number of keys, the keys.
const (
	argCommand = iota
	argScript
	argNumKeys
	argFirstKey
)

// script is a Lua script that Redis keeps under its hash.
type script struct {
	source string
	hash   string
}

func newScript(source string) script {
	return script{source: source, hash: redis.NewScript(source).Hash()}
}

// scriptCall is one EVALSHA of a script that answers integers.
type scriptCall struct {
	items []int // the places of what the call carries among all that is published
	bytes int   // payload, about
	args  []any
	cmd   *redis.IntSliceCmd // set by run
}

// run makes the calls in one pipeline. Each call has its own error. A Redis that does not know the
// script (it was restarted, or is another one) gets its source.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, calls []*scriptCall) {
	send(ctx, rdb, calls)
	unknown := callsWithError(calls, "NOSCRIPT")
	if len(unknown) == 0 {
		return
	}
	for _, call := range unknown {
		call.args[argCommand] = "eval"
		call.args[argScript] = s.source
	}
	send(ctx, rdb, unknown)
}

func send(ctx context.Context, rdb redis.UniversalClient, calls []*scriptCall) {
	pipe := rdb.Pipeline()
	for _, call := range calls {
		call.cmd = redis.NewIntSliceCmd(ctx, call.args...)
		_ = pipe.Process(ctx, call.cmd) // only queues it
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}

// callsWithError returns the calls that Redis answered with an error of that prefix.
func callsWithError(calls []*scriptCall, prefix string) []*scriptCall {
	var failed []*scriptCall
	for _, call := range calls {
		if err := call.cmd.Err(); err != nil && redis.HasErrorPrefix(err, prefix) {
			failed = append(failed, call)
		}
	}
	return failed
}
