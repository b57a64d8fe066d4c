package publish

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Indexes of the arguments of EVALSHA.
const (
	argCommand  = iota
	argScript   // the script's hash
	argNumKeys  // the number of keys
	argFirstKey // the keys
)

// script is a Lua script that Redis caches under its hash.
type script struct {
	source string
	hash   string
}

func newScript(source string) script {
	return script{source: source, hash: redis.NewScript(source).Hash()}
}

// scriptCall is one EVALSHA of a script that returns integers.
type scriptCall struct {
	items []int // indexes of the call's items in the slice that is published
	bytes int   // approximate payload
	args  []any
	cmd   *redis.IntSliceCmd // set by runCalls
}

// runCalls sends the calls in one pipeline. Each call has its own error. If Redis does not know the
// script, because it restarted or is another server, runCalls sends the script's source.
func (s script) runCalls(ctx context.Context, rdb redis.UniversalClient, calls []*scriptCall) {
	sendCalls(ctx, rdb, calls)
	unknown := callsWithError(calls, "NOSCRIPT")
	if len(unknown) == 0 {
		return
	}

	for _, call := range unknown {
		call.args[argCommand] = "eval"
		call.args[argScript] = s.source
	}

	sendCalls(ctx, rdb, unknown)
}

func sendCalls(ctx context.Context, rdb redis.UniversalClient, calls []*scriptCall) {
	pipe := rdb.Pipeline()
	for _, call := range calls {
		call.cmd = redis.NewIntSliceCmd(ctx, call.args...)
		_ = pipe.Process(ctx, call.cmd) // only queues the command
	}

	_, _ = pipe.Exec(ctx) // each command has its own error
}

// callsWithError returns the calls whose error has the prefix.
func callsWithError(calls []*scriptCall, prefix string) []*scriptCall {
	var failed []*scriptCall
	for _, call := range calls {
		err := call.cmd.Err()
		if err != nil && redis.HasErrorPrefix(err, prefix) {
			failed = append(failed, call)
		}
	}

	return failed
}
