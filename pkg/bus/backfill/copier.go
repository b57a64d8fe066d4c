package backfill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
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
	Run    int64     `json:"run"`              // tells this job from earlier ones of the same name

	// HasStart is set when the ends of the streams at the beginning of the copying are stored.
	HasStart bool `json:"hasStart,omitempty"`
}

// Copier copies the history into the replay streams of a group.
type Copier struct {
	rdb  redis.UniversalClient
	cfg  Config
	next time.Time // when Config.Rate allows further events

	// relayed is a time for each partition, in ms. All transactions before it were published before
	// the newest mark.
	relayed []int64
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

// Restart replaces the job by one that begins at a time. A marker that was published since the first
// job began is still not left out.
func (c *Copier) Restart(ctx context.Context, from time.Time) error {
	l, err := c.acquireLock(ctx)
	if err != nil {
		return err
	}
	defer l.release(ctx)

	earlier, _, err := c.ReadJob(ctx)
	if err != nil {
		return err
	}

	return l.save(ctx, &Job{
		Phase:    PhaseCopy,
		From:     from,
		Cursor:   c.cfg.Cursor,
		Run:      l.fence,
		HasStart: earlier.HasStart,
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
	marks, err := c.markStreams(ctx)
	if err != nil {
		return err
	}

	if !job.HasStart {
		err := c.storeStart(ctx, marks)
		if err != nil {
			return err
		}

		job.HasStart = true // copyPages stores it before it adds anything
	}

	err = c.copyPages(ctx, l, job)
	if err != nil {
		return err
	}

	for {
		// The events before the seam were committed before the pages are read.
		seam, err := c.markStreams(ctx)
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

		err = c.storeSeam(ctx, l, seam)
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

		page, err := c.readPage(ctx, job)
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

// readPage reads the page at the job's cursor. It ends before the lock does.
func (c *Copier) readPage(ctx context.Context, job *Job) (bus.HistoryPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()

	return c.cfg.History.ReadHistory(ctx, bus.HistoryQuery{
		Cursor: job.Cursor,
		From:   job.From,
		Limit:  c.limit(),
	})
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
