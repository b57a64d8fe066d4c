package backfill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// addPage adds the events of a page to the streams of their partitions.
func (c *Copier) addPage(ctx context.Context, l *lock, job *Job, events []bus.HistoryEvent) error {
	byPartition := map[int][]*bus.HistoryEvent{}
	count := 0
	for i := range events {
		e := &events[i]
		if c.wantsEvent(e) {
			p := c.cfg.Keys.Partition(e.Account)
			byPartition[p] = append(byPartition[p], e)
			count++
		}
	}

	if count == 0 {
		return nil
	}

	err := c.waitForRate(ctx, l, count)
	if err != nil {
		return err
	}

	partitions := make([]int, 0, len(byPartition))
	for p := range byPartition {
		partitions = append(partitions, p)
	}

	err = c.waitForQueues(ctx, l, partitions, c.cfg.MaxQueued)
	if err != nil {
		return err
	}

	added := make([]int64, c.cfg.Keys.Partitions)
	var group errgroup.Group
	group.SetLimit(8)
	for p, list := range byPartition {
		group.Go(func() (err error) {
			added[p], err = c.addEvents(ctx, l, p, job.Run, list)
			return err
		})
	}

	err = group.Wait()
	for _, n := range added {
		job.Added += n
	}

	return err
}

// waitForRate waits until Config.Rate allows the events. It keeps the lock.
func (c *Copier) waitForRate(ctx context.Context, l *lock, count int) error {
	if c.cfg.Rate <= 0 {
		return nil
	}

	for {
		delay := time.Until(c.next)
		if delay <= 0 {
			break
		}

		wait.Sleep(ctx, min(delay, lockTime/3))
		err := l.save(ctx, nil)
		if err != nil {
			return err
		}
	}

	duration := time.Duration(float64(count) / c.cfg.Rate * float64(time.Second))
	c.next = time.Now().Add(duration)
	return nil
}

// limit returns the number of events in a page. With a low rate a page takes about a second.
func (c *Copier) limit() int {
	if c.cfg.Rate <= 0 || c.cfg.Rate >= pageSize {
		return pageSize
	}

	return max(1, int(c.cfg.Rate))
}

func (c *Copier) wantsEvent(e *bus.HistoryEvent) bool {
	if e.SecondParty && !c.cfg.Copies {
		return false
	}

	if len(c.cfg.Types) > 0 && !slices.Contains(c.cfg.Types, e.Type) {
		return false
	}

	ms, ok := keyMillis(e.Key)
	return c.cfg.To.IsZero() || !ok || ms < c.cfg.To.UnixMilli()
}

// addEvents adds the events of one partition in one script. It returns the number of events that this
// run of the job had not added before.
func (c *Copier) addEvents(ctx context.Context, l *lock, partition int, run int64, events []*bus.HistoryEvent) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()

	args := []any{c.cfg.Name, l.fence, run, len(events)}
	for _, e := range events {
		fields := c.entryFields(e)
		args = append(args, e.Chain.String(), e.Account, c.newestText(partition, e), len(fields))
		args = append(args, fields...)
	}

	keys := []string{c.cfg.Keys.Replay(partition, c.cfg.Group), c.hashKey(partition), c.newestKey(partition)}
	n, err := addScript.Run(ctx, c.rdb, keys, args...).Int64()
	switch {
	case err != nil:
		return 0, fmt.Errorf("add events: %w", err)
	case n < 0:
		return 0, errLockLost
	}

	return n, nil
}

// entryFields returns the fields of the entry, as the event has them in the events stream.
func (c *Copier) entryFields(e *bus.HistoryEvent) []any {
	var fields []any
	for name, value := range streamentry.EventFields(&bus.Event{
		ID:      e.ID,
		Type:    e.Type,
		Account: e.Account,
		Seq:     e.Seq,
		Chain:   e.Chain,
		Key:     e.Key,
		Amount:  e.Amount,
		Reason:  e.Reason,
		Feature: e.Feature,
		Data:    e.Data,
	}) {
		fields = append(fields, name, value)
	}

	if e.View != nil {
		fields = append(fields, "view", string(e.View))
	}

	if e.SecondParty {
		fields = append(fields, "copy", "1")
	}

	if c.cfg.Subscription != "" {
		fields = append(fields, "subscriber", c.cfg.Subscription)
	}

	return fields
}

const queueInterval = 50 * time.Millisecond

// waitForQueues waits until no partition has more unfinished entries than the limit. It keeps the
// lock.
func (c *Copier) waitForQueues(ctx context.Context, l *lock, partitions []int, limit int64) error {
	saved := time.Now()
	for {
		longest, err := c.longestQueue(ctx, partitions)
		if err != nil {
			return err
		}

		if longest <= limit {
			return nil
		}

		wait.Sleep(ctx, queueInterval)
		if ctx.Err() != nil {
			return ctx.Err()
		}

		if time.Since(saved) > lockTime/6 {
			err := l.save(ctx, nil)
			if err != nil {
				return err
			}

			saved = time.Now()
		}
	}
}

func (c *Copier) longestQueue(ctx context.Context, partitions []int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	pipe := c.rdb.Pipeline()
	lengths := make([]*redis.IntCmd, len(partitions))
	for i, p := range partitions {
		lengths[i] = pipe.XLen(ctx, c.cfg.Keys.Replay(p, c.cfg.Group))
	}

	_, err := pipe.Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("measure the replay streams: %w", err)
	}

	longest := int64(0)
	for _, length := range lengths {
		longest = max(longest, length.Val())
	}

	return longest, nil
}

func allPartitions(keys bus.Keys) []int {
	partitions := make([]int, keys.Partitions)
	for p := range partitions {
		partitions[p] = p
	}

	return partitions
}
