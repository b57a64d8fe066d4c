package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	redislog "github.com/redis/go-redis/v9/logging"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/layout"
	"github.com/redroomrewards/realtime/internal/stages"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// exitMissing is the exit code when the file lacks events.
const exitMissing = 3

func main() {
	redislog.Disable()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var c command
	code := cli.Main(cli.Env{Context: ctx, Stdout: stdout, Stderr: stderr}, cli.App{
		Name:        "auditlog",
		Description: "Append every delivery of every account to a file. Exit code 3: the file lacks events.",
	}, &c, args, getenv)
	if code == 0 && c.missing > 0 {
		return exitMissing
	}
	return code
}

type command struct {
	File  string `default:"auditlog.jsonl" help:"File to append to."`
	Check bool   `help:"Read the file, say what it has and what it lacks, and stop."`
	Group string `default:"auditlog" help:"Consumer group; this process must be its only one."`
	HTTP  string `name:"http" default:"127.0.0.1:9091" help:"Where /healthz, /readyz and /metrics are."`
	cli.RedisFlags
	cli.LogFlags

	missing int64 // when it ended
}

// Run follows the streams until ctx ends.
func (c *command) Run(env *cli.Env) (err error) {
	if c.Check {
		return c.check(env.Stdout)
	}
	log, err := c.Logger(env.Stderr)
	if err != nil {
		return err
	}
	keys, err := c.Keys()
	if err != nil {
		return err
	}
	rdb, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	watch := layout.New(rdb, keys, layout.Config{Logger: log})
	if err := watch.Start(env.Context); err != nil {
		return err
	}
	file, err := openFile(c.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() {
		c.missing = file.missing()
		err = errors.Join(err, file.close())
	}()
	if n := file.missing(); n > 0 {
		log.Error("the file lacks events", "file", c.File, "events", n)
	}
	ln, err := httpserver.Listen(env.Context, "--http", c.HTTP)
	if err != nil {
		return err
	}
	admin := httpserver.NewAdmin(httpserver.Check{Name: "redis", Ping: watch.Check})
	a, err := newAuditor(file, log, admin.Registry)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	b, err := bus.NewRedis(rdb, bus.Config{
		Keys: keys, Group: c.Group,
		Consumer:     "auditlog", // after a crash it gets its unfinished events before newer ones
		Copies:       true,
		Lanes:        256, // as many lines may share a sync
		DrainTimeout: 3 * time.Second,
		Logger:       log, Registerer: admin.Registry,
	})
	if err == nil {
		_, err = b.Subscribe(bus.Subscription{ID: "file", Handler: a})
	}
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return stages.Run(env.Context, a.untilFailure, b.Run, watch.Run, func(ctx context.Context) error {
		return httpserver.Serve(ctx, ln, admin, httpserver.Config{Logger: log})
	})
}

func (c *command) check(stdout io.Writer) error {
	file, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	defer func() { _ = file.Close() }()
	track, _, err := read(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.File, err)
	}
	c.missing = track.missing
	for name, a := range track.accounts {
		for _, h := range a.holes {
			_, _ = fmt.Fprintf(stdout, "%s lacks seq %d to %d\n", name, h.from, h.to)
		}
	}
	_, err = fmt.Fprintf(stdout, "%d accounts, %d events missing\n", len(track.accounts), track.missing)
	return err
}

// auditor is the handler.
type auditor struct {
	file   *auditFile
	log    *slog.Logger
	lines  prometheus.Counter
	failed chan error // what the file failed with
}

func newAuditor(file *auditFile, log *slog.Logger, reg prometheus.Registerer) (*auditor, error) {
	a := &auditor{
		file: file, log: log, failed: make(chan error, 1),
		lines: prometheus.NewCounter(prometheus.CounterOpts{Name: "auditlog_handled_total", Help: "Deliveries that are on disk, repeats included."}),
	}
	missing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "auditlog_missing_events", Help: "Events that the file lacks, by seq."},
		func() float64 { return float64(file.missing()) })
	return a, errors.Join(reg.Register(a.lines), reg.Register(missing))
}

// Handle implements bus.Handler.
func (a *auditor) Handle(ctx context.Context, e *bus.Event) error {
	if e.Seq == 0 {
		return nil // another producer's: no account's history has it
	}
	line, err := json.Marshal(record{Account: e.Account, Seq: e.Seq, ID: e.ID, Type: e.Type, Key: e.Key, Data: e.Data})
	if err != nil {
		return bus.Permanent(err)
	}
	hole, err := a.file.append(e.Account, e.Seq, line)
	if err != nil {
		select {
		case a.failed <- err:
		default:
		}
		<-ctx.Done() // neither acknowledged nor tried again: the process ends
		return err
	}
	a.lines.Inc()
	if hole.len() > 0 {
		a.log.Error("events are missing", "account", e.Account, "from", hole.from, "to", hole.to)
	}
	return nil
}

// untilFailure ends with ctx, or with the error that the file failed with.
func (a *auditor) untilFailure(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return fmt.Errorf("write the file: %w", err)
	}
}
