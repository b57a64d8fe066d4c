package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// A subscription with Since gets the history first. One process of the group copies it into the
// group's replay streams, from which all processes read (package backfill). No process reads the
// live events until the group has finished the copies. Then each process leaves out the live events
// that were copied, for this subscription only.
//
// The groups of the event streams are created before the history is read. So the live events begin
// before the history ends, and there is no hole.

// sinceState is the state of the subscriptions with Since.
type sinceState struct {
	mu            sync.Mutex // protects subscriptions
	subscriptions []bus.Subscription

	done  chan struct{}             // closed when the group has the history of all of them
	seams map[string]*backfill.Seam // by subscription; set before done is closed

	marks []relayedMark // for each partition, only used by housekeeping
}

func (b *Bus) addSince(s bus.Subscription) error {
	if b.cfg.History == nil {
		return fmt.Errorf("subscribe %s: Config.History must be set, since Since is set", s.ID)
	}

	b.since.mu.Lock()
	defer b.since.mu.Unlock()
	if b.ran.Load() {
		return fmt.Errorf("subscribe %s: a subscription with Since must be added before Run", s.ID)
	}

	b.since.subscriptions = append(b.since.subscriptions, s)
	return nil
}

// listSince returns the subscriptions with Since.
func (b *Bus) listSince() []bus.Subscription {
	b.since.mu.Lock()
	defer b.since.mu.Unlock()
	return slices.Clone(b.since.subscriptions)
}

// waitForBackfills waits until the group has the history. It returns false if ctx ends first.
func (b *Bus) waitForBackfills(ctx context.Context) bool {
	select {
	case <-b.since.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// coveredBy returns the subscriptions that got the event of an entry with the history.
func (s *sinceState) coveredBy(ctx context.Context, id streamentry.ID, partition int, e *bus.Event) ([]string, error) {
	var names []string
	for name, seam := range s.seams {
		isCovered, err := seam.Covers(ctx, id, partition, e)
		if err != nil {
			return nil, err
		}

		if isCovered {
			names = append(names, name)
		}
	}

	return names, nil
}

// runBackfills copies the history of all subscriptions with Since, or waits until another process has
// done it. While one subscription copies, the streams may be trimmed after the seam of another. So it
// ends when no subscription needed a copy any more.
func (b *Bus) runBackfills(ctx context.Context) error {
	subscriptions := b.listSince()
	b.since.seams = make(map[string]*backfill.Seam, len(subscriptions))
	for isDone := false; !isDone; {
		isDone = true
		for _, s := range subscriptions {
			seam, hasCopied := b.retryBackfill(ctx, s)
			if seam == nil {
				return nil // ctx ended
			}

			b.since.seams[s.ID] = seam
			if hasCopied {
				isDone = false
			}
		}
	}

	close(b.since.done)
	return nil
}

// retryBackfill calls runBackfill until it succeeds. It returns nil if ctx ends first.
func (b *Bus) retryBackfill(ctx context.Context, s bus.Subscription) (seam *backfill.Seam, hasCopied bool) {
	retry := backoff.ExponentialBackOff{
		InitialInterval:     50 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         5 * time.Second,
	}
	for {
		seam, hasCopied, err := b.runBackfill(ctx, s)
		switch {
		case err == nil:
			return seam, hasCopied
		case ctx.Err() != nil:
			return nil, false
		case errors.Is(err, backfill.ErrLocked):
			wait.Sleep(ctx, replayPause) // another process is at work
		default:
			b.metrics.errors.Inc()
			b.cfg.Logger.Warn("reading the history failed; retrying", "group", b.cfg.Group, "subscription", s.ID, "error", err)
			wait.Sleep(ctx, retry.NextBackOff())
		}
	}
}

// runBackfill copies the history of a subscription unless the group has it.
func (b *Bus) runBackfill(ctx context.Context, s bus.Subscription) (seam *backfill.Seam, hasCopied bool, err error) {
	err = b.createAllGroups(ctx)
	if err != nil {
		return nil, false, err
	}

	copier, err := b.newCopier(s)
	if err != nil {
		return nil, false, err
	}

	job, found, err := copier.ReadJob(ctx)
	if err != nil {
		return nil, false, err
	}

	if found && job.Phase == backfill.PhaseDone {
		seam, err := copier.ReadSeam(ctx)
		if err != nil {
			return nil, false, err
		}

		from, isHole, err := b.findHole(ctx, seam)
		if err != nil || !isHole {
			return seam, false, err
		}

		b.cfg.Logger.Warn("the streams were trimmed while the group was away; reading the history of that time",
			"group", b.cfg.Group, "subscription", s.ID, "from", from)
		if from.Before(s.Since) {
			from = s.Since
		}

		err = copier.Restart(ctx, from)
		if err != nil {
			return nil, false, err
		}
	}

	err = copier.Run(ctx)
	if err != nil {
		return nil, false, err
	}

	seam, err = copier.ReadSeam(ctx)
	return seam, true, err
}

// newCopier returns the copier of a subscription.
func (b *Bus) newCopier(s bus.Subscription) (*backfill.Copier, error) {
	types := s.Types
	if len(types) == 0 {
		types = bus.EventTypesOf(s.Handler)
	}

	return backfill.New(b.rdb, backfill.Config{
		Keys:         b.cfg.Keys,
		Group:        b.cfg.Group,
		Name:         s.ID,
		Subscription: s.ID,
		History:      b.cfg.History,
		From:         s.Since,
		Types:        types,
		Copies:       b.cfg.Copies,
		Logger:       b.cfg.Logger,
	})
}

// createAllGroups creates the groups of the streams of all partitions, so that no live event is lost
// that comes after the history. Other processes may read some of the partitions, and start later.
func (b *Bus) createAllGroups(ctx context.Context) error {
	all := b.cfg
	all.Partitions = nil
	return b.createGroups(ctx, groupStreams(&all), true)
}
