package backfill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// Config has the settings of a Copier. Keys, Group, Name and History are required.
type Config struct {
	Keys    bus.Keys
	Group   string
	Name    string // names the backfill within the group: 1 to 64 of A-Z a-z 0-9 . _ -
	History bus.History

	// Subscription is the only subscription of the group that handles the copies. Defaults to all.
	Subscription string
	From         time.Time // begin at this time. Defaults to the first event.
	Cursor       string    // begin at this cursor instead of From. Defaults to none.
	To           time.Time // only events before this time. Defaults to all.
	Types        []string  // only events of these types. Defaults to all.
	Copies       bool      // also the second party's deliveries. Defaults to false.

	Rate      float64 // events added in a second. Defaults to no limit.
	MaxQueued int64   // unfinished entries in a partition at which the copier waits. Defaults to 1000.
	Logger    *slog.Logger

	// Progress is called after each page with the number of events added so far and the time of the
	// newest one. Defaults to none.
	Progress func(added int64, newest time.Time)
}

// The phases of a Job.
const (
	PhaseCopy = "copy" // the history is being copied
	PhaseDone = "done" // the whole history was copied and finished
)

// Job is the stored state of a backfill.
type Job struct {
	Phase  string    `json:"phase"`
	From   time.Time `json:"from,omitzero"`
	Cursor string    `json:"cursor,omitempty"` // of the next page; empty: the first one
	Added  int64     `json:"added"`            // events
	Run    int64     `json:"run"`              // tells the pages of this job from those of earlier ones
}

// Copier copies the history into the replay streams of a group.
type Copier struct {
	rdb  redis.UniversalClient
	cfg  Config
	next time.Time // when Config.Rate allows further events

	// For each partition, at the seam.
	relayed    []int64 // transactions before this time, in ms, were published before
	added      []int64 // entries that were added to the stream
	hadEntries []bool
}

// New returns a copier. It does nothing until Run.
func New(rdb redis.UniversalClient, cfg Config) (*Copier, error) {
	cfg.Keys = cfg.Keys.WithDefaults()
	cfg.MaxQueued = cmp.Or(cfg.MaxQueued, 1000)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	switch {
	case !bus.ValidName(cfg.Group, bus.MaxNameBytes):
		return nil, fmt.Errorf("backfill: group %.70q must be 1 to %d of A-Z a-z 0-9 . _ -", cfg.Group, bus.MaxNameBytes)
	case !bus.ValidName(cfg.Name, bus.MaxNameBytes):
		return nil, fmt.Errorf("backfill: name %.70q must be 1 to %d of A-Z a-z 0-9 . _ -", cfg.Name, bus.MaxNameBytes)
	case cfg.History == nil:
		return nil, errors.New("backfill: History must be set")
	}

	c := &Copier{
		rdb:     rdb,
		cfg:     cfg,
		relayed: make([]int64, cfg.Keys.Partitions),

		added:      make([]int64, cfg.Keys.Partitions),
		hadEntries: make([]bool, cfg.Keys.Partitions),
	}
	return c, nil
}

const pageSize = 1000

func (c *Copier) hashKey(partition int) string { return c.cfg.Keys.Backfill(partition, c.cfg.Group) }

// ReadJob returns the stored job. found is false if there is none.
func (c *Copier) ReadJob(ctx context.Context) (job Job, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	text, err := c.rdb.HGet(ctx, c.hashKey(0), "job:"+c.cfg.Name).Result()
	isAbsent := errors.Is(err, redis.Nil) || (err == nil && text == "")
	if isAbsent {
		return Job{}, false, nil
	}

	if err != nil {
		return Job{}, false, fmt.Errorf("read the backfill: %w", err)
	}

	err = json.Unmarshal([]byte(text), &job)
	if err != nil {
		return Job{}, false, fmt.Errorf("read the backfill: %w", err)
	}

	return job, true, nil
}

// Run copies the history up to its end, and waits until the group has finished the copies. Then it
// stores where the live events begin. It continues an earlier Run that has not ended. If one has
// ended, it does nothing. The error is ErrLocked if another process copies for this name.
func (c *Copier) Run(ctx context.Context) error {
	return c.withJob(ctx, func(l *lock, job *Job) error {
		if job.Phase == PhaseDone {
			return nil
		}

		return c.runJob(ctx, l, job)
	})
}

// Copy copies the history up to its end and forgets the job. It does not wait until the group has
// finished the copies. It continues an earlier Copy that has not ended.
func (c *Copier) Copy(ctx context.Context) (added int64, err error) {
	err = c.withJob(ctx, func(l *lock, job *Job) error {
		err := c.copyPages(ctx, l, job)
		added = job.Added
		if err != nil {
			return err
		}

		return c.forgetJob(ctx)
	})
	return added, err
}

// Restart replaces the job by one that begins at a time.
func (c *Copier) Restart(ctx context.Context, from time.Time) error {
	l, err := c.acquireLock(ctx)
	if err != nil {
		return err
	}
	defer l.release(ctx)

	return l.save(ctx, &Job{
		Phase:  PhaseCopy,
		From:   from,
		Cursor: c.cfg.Cursor,
		Run:    l.fence,
	})
}

func (c *Copier) forgetJob(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	err := c.rdb.HSet(ctx, c.hashKey(0), "job:"+c.cfg.Name, "").Err()
	if err != nil {
		return fmt.Errorf("forget the backfill: %w", err)
	}

	return nil
}

// withJob calls the function with the lock and the stored job, or a new one.
func (c *Copier) withJob(ctx context.Context, call func(*lock, *Job) error) error {
	l, err := c.acquireLock(ctx)
	if err != nil {
		return err
	}
	defer l.release(ctx)

	job, found, err := c.ReadJob(ctx)
	if err != nil {
		return err
	}

	if !found {
		job = Job{
			Phase:  PhaseCopy,
			From:   c.cfg.From,
			Cursor: c.cfg.Cursor,
			Run:    l.fence,
		}
	}

	return call(l, &job)
}

func (c *Copier) runJob(ctx context.Context, l *lock, job *Job) error {
	_, err := c.markSeam(ctx)
	if err != nil {
		return err
	}

	err = c.copyPages(ctx, l, job)
	if err != nil {
		return err
	}

	for {
		// What was published before the seam was committed before the pages that are read now.
		seam, err := c.markSeam(ctx)
		if err != nil {
			return err
		}

		err = c.copyPages(ctx, l, job)
		if err != nil {
			return err
		}

		err = c.waitForQueues(ctx, l, allPartitions(c.cfg.Keys), 0)
		if err != nil {
			return err
		}

		isTrimmed, err := c.isTrimmedAfter(ctx, seam)
		if err != nil {
			return err
		}

		if isTrimmed {
			continue // while the copies were handled, the streams lost events that the pages do not have
		}

		err = c.storeSeam(ctx, seam)
		if err != nil {
			return err
		}

		job.Phase = PhaseDone
		return l.save(ctx, job)
	}
}

// copyPages copies pages until there are no more.
func (c *Copier) copyPages(ctx context.Context, l *lock, job *Job) error {
	for {
		err := l.save(ctx, job)
		if err != nil {
			return err
		}

		page, err := c.cfg.History.ReadHistory(ctx, bus.HistoryQuery{
			Cursor: job.Cursor,
			From:   job.From,
			Limit:  c.limit(),
		})
		var changed *bus.CursorChangedError
		if errors.As(err, &changed) {
			c.cfg.Logger.Warn("the ledger went back to an earlier time while its history was read; "+
				"events that the group got may never have happened", "group", c.cfg.Group, "subscription", c.cfg.Name, "from", changed.Since)
			job.Cursor = changed.Next
			continue
		}

		if err != nil {
			return fmt.Errorf("read the history: %w", err)
		}

		err = c.addPage(ctx, l, job, page.Events)
		if err != nil {
			return err
		}

		job.Cursor = page.Next
		c.reportProgress(job, page.Events)
		if !page.More || c.isPastEnd(page.Events) {
			return l.save(ctx, job)
		}
	}
}

// isPastEnd reports whether all further events are after Config.To.
func (c *Copier) isPastEnd(events []bus.HistoryEvent) bool {
	if c.cfg.To.IsZero() || len(events) == 0 {
		return false
	}

	ms, ok := keyMillis(events[0].Key)
	return ok && ms > c.cfg.To.Add(clockSkew).UnixMilli()
}

func (c *Copier) reportProgress(job *Job, events []bus.HistoryEvent) {
	if c.cfg.Progress == nil || len(events) == 0 {
		return
	}

	ms, _ := keyMillis(events[len(events)-1].Key)
	c.cfg.Progress(job.Added, time.UnixMilli(ms))
}

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

	start := fmt.Sprintf("%d %s", job.Run, job.Cursor)

	added := make([]int64, c.cfg.Keys.Partitions)
	var group errgroup.Group
	group.SetLimit(8)
	for p, list := range byPartition {
		group.Go(func() (err error) {
			added[p], err = c.addEvents(ctx, l, p, start, list)
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

// addEvents adds the events of one partition in one script. It returns the number of events that
// were not in the stream.
func (c *Copier) addEvents(ctx context.Context, l *lock, partition int, start string, events []*bus.HistoryEvent) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*callTimeout)
	defer cancel()

	args := []any{c.cfg.Name, l.fence, start, len(events)}
	for _, e := range events {
		fields := c.entryFields(e)
		args = append(args, e.Account, c.newestText(partition, e), len(fields))
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
