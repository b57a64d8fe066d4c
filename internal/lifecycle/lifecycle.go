// Package lifecycle runs the parts of a process that must stop one after the other: first new
// requests, then the work that they queued, then the events of that work.
package lifecycle

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Run starts all stages at once. When ctx ends or any stage returns, Run cancels the context of the
// first stage. It cancels the context of each further stage when all stages before it have returned.
// Run waits for all stages and returns the first error.
func Run(ctx context.Context, stages ...func(context.Context) error) error {
	stageCtx, stopFirst := context.WithCancel(ctx)
	defer stopFirst()

	var g errgroup.Group
	earlierDone := closedChannel()
	for _, stage := range stages {
		nextCtx, stopNext := context.WithCancel(context.WithoutCancel(ctx))
		thisCtx := stageCtx
		waitFor := earlierDone
		done := make(chan struct{})

		g.Go(func() error {
			err := stage(thisCtx)
			stopFirst()

			<-waitFor
			stopNext()
			close(done)
			return err
		})

		stageCtx = nextCtx
		earlierDone = done
	}
	return g.Wait()
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
