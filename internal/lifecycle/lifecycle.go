// Package lifecycle runs the parts of a process that have to stop one after the
// other: no new requests, then what they queued, then what that produced.
package lifecycle

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Run starts all stages at once. When ctx ends, or one of them returns, the
// first is told to stop; each of the others when all before it have returned.
// Run returns the first error once all have returned.
func Run(ctx context.Context, all ...func(context.Context) error) error {
	stopping, stop := context.WithCancel(ctx)
	defer stop()

	var g errgroup.Group
	earlier := closed() // closed once all stages before have returned
	for stageCtx := stopping; len(all) > 0; all = all[1:] {
		next, stopNext := context.WithCancel(context.WithoutCancel(ctx))
		stage, mine, before, done := all[0], stageCtx, earlier, make(chan struct{})
		g.Go(func() error {
			err := stage(mine)
			stop()
			<-before
			stopNext()
			close(done)
			return err
		})
		stageCtx, earlier = next, done
	}
	return g.Wait()
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
