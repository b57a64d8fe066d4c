//go:build linux

// Command idle measures what ten thousand connections cost that have a
// subscription and nothing to tell: memory after a garbage collection, and
// processor time for heartbeats.
//
// Run it with scripts/bench idle.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/compare"
	"github.com/redroomrewards/realtime/bench/process"
)

func main() { process.Main("bench idle", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	var o compare.Options
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	o.Flags(flags, 10_000, "gateway,centrifuge,floor")
	measure := flags.Duration("measure", 25*time.Second, "how long processor time counts; all servers' heartbeats come every 25 s")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *measure <= 0 {
		return errors.New("all durations must be above zero")
	}
	out := &compare.Outcome{
		Intro: fmt.Sprintf("%d clients, an account and a subscription each, and no events; processor time over %s. "+
			"Memory is the difference to the server without clients; Go's is heap and stacks in use.", o.Clients, *measure),
		LoadName: "connections",
		Columns: []compare.Column{
			{Name: "Go memory KB each", Ratio: true}, {Name: "resident KB each", Ratio: true}, {Name: "server CPU %", Ratio: true},
			{Name: "generator CPU %", Plain: true},
		},
	}
	return compare.Run(ctx, "idle", args, getenv, &o, out, func(ctx context.Context, t *compare.Trial) ([]compare.Result, error) {
		return idle(ctx, t, *measure)
	})
}

func idle(ctx context.Context, t *compare.Trial, d time.Duration) ([]compare.Result, error) {
	f, err := t.Feed(ctx, t.Clients, 1)
	if err != nil {
		return nil, err
	}
	if err := t.Start(ctx); err != nil {
		return nil, err
	}
	goBefore, residentBefore, err := t.Memory(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := t.Connect(ctx, f.Accounts(), -1, 0)
	if err != nil {
		return nil, err
	}
	goAfter, residentAfter, err := t.Memory(ctx)
	if err != nil {
		return nil, err
	}
	w, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(d):
	}
	used, err := w.End(ctx)
	if err != nil {
		return nil, err
	}
	each := func(after, before float64) float64 { return (after - before) / 1024 / float64(t.Clients) }
	return []compare.Result{compare.NewResult(fmt.Sprint(t.Clients), &used,
		each(goAfter, goBefore), each(residentAfter, residentBefore), used.ServerPercent, used.GeneratorPercent)}, clients.Err()
}
