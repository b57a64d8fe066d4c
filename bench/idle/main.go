//go:build linux

// Command idle measures the cost of ten thousand connections that have a subscription and get no
// events: the memory after a garbage collection, and the CPU time for heartbeats.
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
	measure := flags.Duration("measure", 25*time.Second,
		"length of the measurement of CPU time; all servers send a heartbeat every 25 s")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	if *measure <= 0 {
		return errors.New("all durations must be above zero")
	}

	out := &compare.Outcome{
		Intro: fmt.Sprintf("%d clients, an account and a subscription each, and no events; CPU time over %s. "+
			"Memory is the difference to the server without clients; Go memory is heap and stacks in use.", o.Clients, *measure),
		LoadName: "connections",
		Columns: []compare.Column{
			{Name: "Go memory KB each", Ratio: true},
			{Name: "resident KB each", Ratio: true},
			{Name: "server CPU %", Ratio: true},
			{Name: "generator CPU %", Plain: true},
		},
	}
	return compare.Run(ctx, "idle", args, getenv, &o, out, func(ctx context.Context, t *compare.Trial) ([]compare.Result, error) {
		return measureServer(ctx, t, *measure)
	})
}

// measureServer measures one server. The CPU time counts for the time d.
func measureServer(ctx context.Context, t *compare.Trial, d time.Duration) ([]compare.Result, error) {
	f, err := t.Feed(ctx, t.Clients, 1)
	if err != nil {
		return nil, err
	}

	err = t.Start(ctx)
	if err != nil {
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

	kilobytesEach := func(after, before float64) float64 { return (after - before) / 1024 / float64(t.Clients) }
	result := compare.NewResult(fmt.Sprint(t.Clients), &used,
		kilobytesEach(goAfter, goBefore),
		kilobytesEach(residentAfter, residentBefore),
		used.ServerPercent,
		used.GeneratorPercent)
	return []compare.Result{result}, clients.Err()
}
