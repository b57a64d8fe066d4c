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
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// Bus is a bus on Redis Streams. It reads the partitions' streams as a consumer group. Any number
// of processes may share a group; each event goes to one of them.
//
// An event is acknowledged when all its subscriptions are done with it. If a process dies, the
// other ones take over its unfinished events after Config.ClaimAfter. They skip the subscriptions
// that are marked as done with an event. A marker is written within milliseconds, so a handler runs
// again only if its process died within these milliseconds, or if Redis lost data.
//
// An entry that is not an event becomes a dead letter. So does an entry that was handed out more
// than maxDeliveries times.
type Bus struct {
	rdb     redis.UniversalClient
	cfg     bus.Config
	d       *dispatch.Dispatcher
	acks    *acknowledger
	pub     *publish.EventPublisher
	metrics groupMetrics
	since   sinceState
	streams []groupStream // the events of each partition, then the replayed dead letters of each

	mu       sync.Mutex              // protects inFlight
	inFlight map[entryRef]*entryTask // entries that were read and are not acknowledged

	ran     atomic.Bool        // Run was called
	closed  context.Context    // ends when Close is called
	close   context.CancelFunc // ends closed
	idle    chan struct{}      // closed when reading has stopped
	stopped chan struct{}      // closed when Run has returned
}

var _ bus.Bus = (*Bus)(nil)

// New returns a bus on the given client. It does nothing until Run.
func New(rdb redis.UniversalClient, cfg bus.Config) (*Bus, error) {
	cfg = cfg.WithDefaults()
	err := validateConfig(&cfg)
	if err != nil {
		return nil, err
	}

	m := metrics.NewBus(cfg.Registerer, cfg.Group)
	b := &Bus{
		rdb:      rdb,
		cfg:      cfg,
		d:        dispatch.New(cfg, m),
		pub:      publish.NewEventPublisher(rdb, cfg, m),
		metrics:  newGroupMetrics(cfg.Registerer, cfg.Group),
		streams:  groupStreams(&cfg),
		inFlight: map[entryRef]*entryTask{},
		idle:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	b.since.done = make(chan struct{})

	b.closed, b.close = context.WithCancel(context.Background())
	b.acks = newAcknowledger(b)
	b.d.Finished = b.acks.taskFinished
	b.d.SubscriberDone = b.acks.subscriberDone
	b.d.DeadLetter = b.acks.deadLetter

	return b, nil
}

// validateConfig validates the group, the consumer and the partitions. It sets the default
// consumer.
func validateConfig(cfg *bus.Config) error {
	if cfg.Group != "" && !bus.ValidName(cfg.Group, bus.MaxNameBytes) {
		return fmt.Errorf("bus: group %.70q must be 1 to %d of A-Z a-z 0-9 . _ -", cfg.Group, bus.MaxNameBytes)
	}

	if cfg.Consumer == "" {
		cfg.Consumer = newConsumerName()
	} else if !bus.ValidText(cfg.Consumer) {
		return fmt.Errorf("bus: consumer %.70q must be 1 to %d visible ASCII characters", cfg.Consumer, bus.MaxTextBytes)
	}

	for _, p := range cfg.Partitions {
		if p < 0 || p >= cfg.Keys.Partitions {
			return fmt.Errorf("bus: partition %d must be from 0 to %d", p, cfg.Keys.Partitions-1)
		}
	}

	return nil
}

// groupStreams returns the streams that the bus reads.
func groupStreams(cfg *bus.Config) []groupStream {
	partitions := cfg.Partitions
	if len(partitions) == 0 {
		for p := range cfg.Keys.Partitions {
			partitions = append(partitions, p)
		}
	}

	streams := make([]groupStream, 0, 2*len(partitions))
	for _, p := range partitions {
		streams = append(streams, groupStream{partition: p, key: cfg.Keys.Stream(p)})
	}

	for _, p := range partitions {
		streams = append(streams, groupStream{partition: p, key: cfg.Keys.Replay(p, cfg.Group), replay: true})
	}

	return streams
}

func newConsumerName() string {
	host, err := os.Hostname()
	if err != nil || !bus.ValidText(host) || len(host) > 100 {
		host = "consumer"
	}
	return host + "-" + strconv.Itoa(os.Getpid()) + "-" + rand.Text()[:6]
}

// Subscribe implements Bus.
func (b *Bus) Subscribe(s bus.Subscription) (func(context.Context) error, error) {
	if b.cfg.Group == "" {
		return nil, errors.New("subscribe: Config.Group must not be empty")
	}
	unsubscribe, err := b.d.Subscribe(s)
	if err != nil || s.Since.IsZero() {
		return unsubscribe, err
	}

	err = b.addSince(s)
	if err != nil {
		return nil, errors.Join(err, unsubscribe(context.Background()))
	}
	return unsubscribe, nil
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

	return statuses, explainTimeout(ctx, err)
}

// explainTimeout makes the error match context.DeadlineExceeded if a call to Redis ended because the
// deadline of ctx has passed. Its connection may notice that before ctx does.
func explainTimeout(ctx context.Context, err error) error {
	deadline, hasDeadline := ctx.Deadline()
	hasEnded := hasDeadline && !time.Now().Before(deadline)
	if hasEnded && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}

	return err
}

// DeadLetters implements Bus.
func (b *Bus) DeadLetters() bus.DeadLetters { return OpenDeadLetters(b.rdb, b.cfg.Keys, b.cfg.Group) }

// Run implements Bus.
func (b *Bus) Run(ctx context.Context) error {
	if b.cfg.Group == "" {
		return errors.New("run the bus: Config.Group must not be empty")
	}

	if b.ran.Swap(true) {
		if b.closed.Err() != nil {
			return nil
		}

		return errors.New("run the bus: Run was called before")
	}

	defer close(b.stopped)
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	defer context.AfterFunc(b.closed, stopReading)()
	acknowledging, stopAcknowledging := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAcknowledging()

	var acks, readers errgroup.Group
	acks.Go(func() error { return b.acks.run(acknowledging) })
	for _, r := range b.newReaders() {
		readers.Go(func() error {
			defer stopReading() // if one reader gives up, all end

			return r.run(reading)
		})
	}

	readers.Go(func() error { return b.runHousekeeping(reading) })
	readers.Go(func() error { return b.runBackfills(reading) })
	err := readers.Wait()
	close(b.idle)

	if b.closed.Err() == nil {
		b.drainEvents(context.WithoutCancel(ctx))
	}

	<-b.d.Handlers.Done() // drainEvents or Close has ended the handlers
	stopAcknowledging()
	return errors.Join(err, acks.Wait(), b.leaveGroup(context.WithoutCancel(ctx)))
}

// drainEvents closes the bus and waits at most Config.DrainTimeout for the events in flight.
func (b *Bus) drainEvents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.DrainTimeout)
	defer cancel()

	b.close()
	err := b.d.Drain(ctx)
	if err != nil {
		b.cfg.Logger.Warn("the bus stopped before all events were handled; the remaining events will be handled later", "error", err)
	}
}

// Close implements Bus.
func (b *Bus) Close(ctx context.Context) error {
	b.close()
	if !b.ran.Swap(true) {
		close(b.stopped)
		close(b.idle)
	}

	select {
	case <-b.idle:
	case <-ctx.Done():
	}

	err := b.d.Drain(ctx)
	if err != nil {
		return err
	}

	select {
	case <-b.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaveGroup removes the consumer from the group in each stream where it has no pending entries.
func (b *Bus) leaveGroup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()

	pipe := b.rdb.Pipeline()
	pendingCmds := make([]*redis.XPendingExtCmd, len(b.streams))

	for i, stream := range b.streams {
		args := firstPending(stream.key, b.cfg.Group)
		args.Consumer = b.cfg.Consumer
		pendingCmds[i] = pipe.XPendingExt(ctx, args)
	}

	_, _ = pipe.Exec(ctx) // each command has its own error

	for i, stream := range b.streams {
		pending, err := pendingCmds[i].Result()
		if err == nil && len(pending) == 0 {
			pipe.XGroupDelConsumer(ctx, stream.key, b.cfg.Group, b.cfg.Consumer)
		}
	}

	_, _ = pipe.Exec(ctx) // a consumer that stays in the group costs a few bytes
	return nil
}
