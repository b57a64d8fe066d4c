package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/bus/internal/retry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// Redis is a bus on Redis Streams: a consumer group of the partitions' streams. Any
// number of processes may share a group; each event goes to one of them.
//
// An event is acknowledged when all its subscriptions are through with it. A process
// that dies leaves the others unfinished ones: they take them over after
// Config.ClaimAfter, and leave out the subscriptions that were through, which is
// noted in Redis within milliseconds while others are not. So a handler may run again
// for an event only if its process died within these milliseconds, or Redis lost data.
//
// What is no event, and what processes died of maxDeliveries times, becomes a dead
// letter.
type Redis struct {
	rdb  redis.UniversalClient
	cfg  Config
	d    *dispatcher
	desk *settler
	pub  *eventPublisher

	mu     sync.Mutex         // protects flying
	flying map[place]*task    // what was read and is not acknowledged
	parts  []part             // the streams that are read
	ran    atomic.Bool        // Run was called
	closed context.Context    // ends when Close is called
	close  context.CancelFunc // ends it
	idle   chan struct{}      // closed when nothing is read any more
	ended  chan struct{}      // closed when Run has returned
}

var _ Bus = (*Redis)(nil)

// part is a stream that the group reads: a partition's events, or what comes back
// from its dead letters.
type part struct {
	partition int
	stream    string
	replay    bool
}

// place is where an entry is: in which of the parts, and its id.
type place struct {
	part int
	id   streamentry.ID
}

// NewRedis makes a bus on the given client. It does nothing until Run.
func NewRedis(rdb redis.UniversalClient, cfg Config) (*Redis, error) {
	cfg = cfg.withDefaults()
	if cfg.Group != "" && !word(cfg.Group, maxName) {
		return nil, fmt.Errorf("bus: group %.70q is not 1 to %d of A-Z a-z 0-9 . _ -", cfg.Group, maxName)
	}
	if cfg.Consumer == "" {
		cfg.Consumer = consumerName()
	} else if !visible(cfg.Consumer) {
		return nil, fmt.Errorf("bus: consumer %.70q is not 1 to %d visible ASCII characters", cfg.Consumer, maxText)
	}
	partitions := cfg.Partitions
	for _, p := range partitions {
		if p < 0 || p >= cfg.Keys.Partitions {
			return nil, fmt.Errorf("bus: partition %d is not from 0 to %d", p, cfg.Keys.Partitions-1)
		}
	}
	if len(partitions) == 0 {
		for p := range cfg.Keys.Partitions {
			partitions = append(partitions, p)
		}
	}
	m := newBusMetrics(cfg.Registerer, cfg.Group)
	b := &Redis{
		rdb: rdb, cfg: cfg, d: newDispatcher(cfg, m), pub: newEventPublisher(rdb, cfg, m),
		flying: map[place]*task{}, idle: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, p := range partitions {
		b.parts = append(b.parts, part{partition: p, stream: cfg.Keys.Stream(p)})
	}
	for _, p := range partitions {
		b.parts = append(b.parts, part{partition: p, stream: cfg.Keys.Replay(p, cfg.Group), replay: true})
	}
	b.closed, b.close = context.WithCancel(context.Background())
	b.desk = newSettler(b)
	b.d.finished = b.desk.finished
	b.d.through = b.desk.through
	b.d.bury = b.desk.bury
	return b, nil
}

func consumerName() string {
	host, err := os.Hostname()
	if err != nil || !visible(host) || len(host) > 100 {
		host = "consumer"
	}
	return host + "-" + strconv.Itoa(os.Getpid()) + "-" + rand.Text()[:6]
}

// Subscribe implements Bus.
func (b *Redis) Subscribe(s Subscription) (func(context.Context) error, error) {
	if b.cfg.Group == "" {
		return nil, errors.New("subscribe: Config.Group is empty")
	}
	return b.d.subscribe(s)
}

// Publish implements Bus.
func (b *Redis) Publish(ctx context.Context, events ...Event) ([]Status, error) {
	if b.closed.Err() != nil {
		return make([]Status, len(events)), fmt.Errorf("publish: %w", ErrClosed)
	}
	statuses, err := b.pub.publish(ctx, events)
	if err == nil && b.cfg.Synchronous {
		err = b.handled(ctx)
	}
	return statuses, err
}

// DeadLetters implements Bus.
func (b *Redis) DeadLetters() DeadLetters { return OpenDeadLetters(b.rdb, b.cfg.Keys, b.cfg.Group) }

// Run implements Bus.
func (b *Redis) Run(ctx context.Context) error {
	if b.cfg.Group == "" {
		return errors.New("run the bus: Config.Group is empty")
	}
	if b.ran.Swap(true) {
		if b.closed.Err() != nil {
			return nil
		}
		return errors.New("run the bus: it ran already")
	}
	defer close(b.ended)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.closed, stop)()
	settling, settled := context.WithCancel(context.WithoutCancel(ctx))
	defer settled()

	var desk, readers errgroup.Group
	desk.Go(func() error { return b.desk.run(settling) })
	for _, r := range b.readers() {
		readers.Go(func() error {
			defer stop() // one that gives up ends all
			return r.run(reading)
		})
	}
	readers.Go(func() error { return b.keepHouse(reading) })
	err := readers.Wait()
	close(b.idle)
	if b.closed.Err() == nil {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.DrainTimeout)
		defer cancel()
		b.close()
		if err := b.d.drain(drain); err != nil {
			b.cfg.Logger.Warn("the bus stopped before all was handled; the rest is handled later", "error", err)
		}
	}
	<-b.d.handlers.Done() // Close drains
	settled()
	return errors.Join(err, desk.Wait(), b.sayGoodbye(context.WithoutCancel(ctx)))
}

// Close implements Bus.
func (b *Redis) Close(ctx context.Context) error {
	b.close()
	if !b.ran.Swap(true) {
		close(b.ended)
		close(b.idle)
	}
	select {
	case <-b.idle:
	case <-ctx.Done():
	}
	if err := b.d.drain(ctx); err != nil {
		return err
	}
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sayGoodbye takes the consumer out of the group, except where entries are left to it.
func (b *Redis) sayGoodbye(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pipe := b.rdb.Pipeline()
	left := make([]*redis.XPendingExtCmd, len(b.parts))
	for i, p := range b.parts {
		left[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: p.stream, Group: b.cfg.Group, Start: "-", End: "+", Count: 1, Consumer: b.cfg.Consumer,
		})
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, p := range b.parts {
		if entries, err := left[i].Result(); err == nil && len(entries) == 0 {
			pipe.XGroupDelConsumer(ctx, p.stream, b.cfg.Group, b.cfg.Consumer)
		}
	}
	_, _ = pipe.Exec(ctx) // a consumer that stays in the list costs some bytes
	return nil
}

// handled waits until the group is through with all that is in the streams now.
func (b *Redis) handled(ctx context.Context) error {
	ends := make([]streamentry.ID, len(b.parts))
	for i, p := range b.parts {
		last, err := b.rdb.XRevRangeN(ctx, p.stream, "+", "-", 1).Result()
		if err == nil {
			ends[i], err = streamentry.LastID(last)
		}
		if err != nil {
			return fmt.Errorf("wait for handlers: %w", err)
		}
	}
	for i, p := range b.parts {
		for ends[i] != (streamentry.ID{}) {
			done, err := b.past(ctx, p, ends[i])
			if err != nil {
				return fmt.Errorf("wait for handlers: %w", err)
			}
			if done {
				break
			}
			retry.Sleep(ctx, 2*time.Millisecond)
		}
	}
	return nil
}

// past tells whether the group is through with a stream up to an entry.
func (b *Redis) past(ctx context.Context, p part, end streamentry.ID) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	groups, err := b.rdb.XInfoGroups(ctx, p.stream).Result()
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		if last, ok := streamentry.ParseID([]byte(g.LastDeliveredID)); g.Name == b.cfg.Group && ok && !last.Less(end) {
			pending, err := b.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
				Stream: p.stream, Group: b.cfg.Group, Start: "-", End: end.String(), Count: 1,
			}).Result()
			return err == nil && len(pending) == 0, err
		}
	}
	return false, nil
}
