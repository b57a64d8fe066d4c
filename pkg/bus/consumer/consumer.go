package consumer

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

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// Bus is a bus on Redis Streams: a consumer group of the partitions' streams. Any
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
type Bus struct {
	rdb     redis.UniversalClient
	cfg     bus.Config
	d       *dispatch.Dispatcher
	desk    *settler
	pub     *publish.EventPublisher
	metrics groupMetrics

	mu       sync.Mutex           // protects flying
	inFlight map[place]*entryTask // what was read and is not acknowledged
	parts    []part               // the streams that are read
	ran      atomic.Bool          // Run was called
	closed   context.Context      // ends when Close is called
	close    context.CancelFunc   // ends it
	idle     chan struct{}        // closed when nothing is read any more
	ended    chan struct{}        // closed when Run has returned
}

var _ bus.Bus = (*Bus)(nil)

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

// New makes a bus on the given client. It does nothing until Run.
func New(rdb redis.UniversalClient, cfg bus.Config) (*Bus, error) {
	cfg = cfg.WithDefaults()
	if cfg.Group != "" && !bus.ValidName(cfg.Group, bus.MaxNameBytes) {
		return nil, fmt.Errorf("bus: group %.70q is not 1 to %d of A-Z a-z 0-9 . _ -", cfg.Group, bus.MaxNameBytes)
	}
	if cfg.Consumer == "" {
		cfg.Consumer = consumerName()
	} else if !bus.ValidText(cfg.Consumer) {
		return nil, fmt.Errorf("bus: consumer %.70q is not 1 to %d visible ASCII characters", cfg.Consumer, bus.MaxTextBytes)
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
	m := metrics.NewBus(cfg.Registerer, cfg.Group)
	b := &Bus{
		rdb: rdb, cfg: cfg, d: dispatch.New(cfg, m), pub: publish.NewEventPublisher(rdb, cfg, m), metrics: newGroupMetrics(cfg.Registerer, cfg.Group),
		inFlight: map[place]*entryTask{}, idle: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, p := range partitions {
		b.parts = append(b.parts, part{partition: p, stream: cfg.Keys.Stream(p)})
	}
	for _, p := range partitions {
		b.parts = append(b.parts, part{partition: p, stream: cfg.Keys.Replay(p, cfg.Group), replay: true})
	}
	b.closed, b.close = context.WithCancel(context.Background())
	b.desk = newSettler(b)
	b.d.Finished = b.desk.finished
	b.d.SubscriberDone = b.desk.subscriberDone
	b.d.DeadLetter = b.desk.deadLetter
	return b, nil
}

func consumerName() string {
	host, err := os.Hostname()
	if err != nil || !bus.ValidText(host) || len(host) > 100 {
		host = "consumer"
	}
	return host + "-" + strconv.Itoa(os.Getpid()) + "-" + rand.Text()[:6]
}

// Subscribe implements Bus.
func (b *Bus) Subscribe(s bus.Subscription) (func(context.Context) error, error) {
	if b.cfg.Group == "" {
		return nil, errors.New("subscribe: Config.Group is empty")
	}
	return b.d.Subscribe(s)
}

// Publish implements Bus.
func (b *Bus) Publish(ctx context.Context, events ...bus.Event) ([]bus.Status, error) {
	if b.closed.Err() != nil {
		return make([]bus.Status, len(events)), fmt.Errorf("publish: %w", bus.ErrClosed)
	}
	statuses, err := b.pub.Publish(ctx, events)
	if err == nil && b.cfg.Synchronous {
		err = b.waitForHandlers(ctx)
	}
	return statuses, err
}

// DeadLetters implements Bus.
func (b *Bus) DeadLetters() bus.DeadLetters { return OpenDeadLetters(b.rdb, b.cfg.Keys, b.cfg.Group) }

// Run implements Bus.
func (b *Bus) Run(ctx context.Context) error {
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
	readers.Go(func() error { return b.runHousekeeping(reading) })
	err := readers.Wait()
	close(b.idle)
	if b.closed.Err() == nil {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.DrainTimeout)
		defer cancel()
		b.close()
		if err := b.d.Drain(drain); err != nil {
			b.cfg.Logger.Warn("the bus stopped before all was handled; the rest is handled later", "error", err)
		}
	}
	<-b.d.Handlers.Done() // Close drains
	settled()
	return errors.Join(err, desk.Wait(), b.leaveGroup(context.WithoutCancel(ctx)))
}

// Close implements Bus.
func (b *Bus) Close(ctx context.Context) error {
	b.close()
	if !b.ran.Swap(true) {
		close(b.ended)
		close(b.idle)
	}
	select {
	case <-b.idle:
	case <-ctx.Done():
	}
	if err := b.d.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaveGroup takes the consumer out of the group, except where entries are left to it.
func (b *Bus) leaveGroup(ctx context.Context) error {
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

// waitForHandlers waits until the group is through with all that is in the streams now.
func (b *Bus) waitForHandlers(ctx context.Context) error {
	ends := make([]streamentry.ID, len(b.parts))
	for i, p := range b.parts {
		last, err := b.rdb.XRevRangeN(ctx, p.stream, "+", "-", 1).Result()
		if err == nil {
			ends[i], err = redisconn.FirstID(last)
		}
		if err != nil {
			return fmt.Errorf("wait for handlers: %w", err)
		}
	}
	for i, p := range b.parts {
		for ends[i] != (streamentry.ID{}) {
			done, err := b.consumedUpTo(ctx, p, ends[i])
			if err != nil {
				return fmt.Errorf("wait for handlers: %w", err)
			}
			if done {
				break
			}
			wait.Sleep(ctx, 2*time.Millisecond)
		}
	}
	return nil
}

// consumedUpTo tells whether the group is through with a stream up to an entry.
func (b *Bus) consumedUpTo(ctx context.Context, p part, end streamentry.ID) (bool, error) {
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
