package consumer

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// streamPipe is a pipeline that remembers the stream of each command. On a cluster the commands of
// some streams may fail while those of others succeed.
type streamPipe struct {
	redis.Pipeliner
	a       *acknowledger
	streams []int // of each command, an index in Bus.streams
}

func (a *acknowledger) newStreamPipe() *streamPipe {
	return &streamPipe{Pipeliner: a.b.rdb.Pipeline(), a: a}
}

// endCommands records that the commands that were added since the last call belong to a stream.
func (p *streamPipe) endCommands(stream int) {
	for len(p.streams) < p.Len() {
		p.streams = append(p.streams, stream)
	}
}

// execCommands sends the commands. It reports the first error, and returns the streams with a
// command that failed.
func (p *streamPipe) execCommands(ctx context.Context, operation string) map[int]bool {
	cmds, err := p.Exec(ctx)
	if err == nil {
		return nil
	}

	p.a.reportError(operation, err)
	failed := map[int]bool{}
	for i, cmd := range cmds {
		if cmd.Err() != nil {
			failed[p.streams[i]] = true
		}
	}

	return failed
}
