//go:build linux

// Command storm measures how a server that has just started handles ten thousand clients that
// reconnect at the same time. Each client has an account of its own and has missed some of its
// events.
//
// Run it with scripts/bench storm.
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

func main() { process.Main("bench storm", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	var o compare.Options
	flags := flag.NewFlagSet("storm", flag.ContinueOnError)
	o.Flags(flags, 10_000, "gateway,centrifuge,floor")
	missed := flags.Int("missed", 3,
		"events that each client has missed; its account has twice as many")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	if *missed < 1 {
		return errors.New("all numbers must be above zero")
	}

	out := &compare.Outcome{
		Intro: fmt.Sprintf("%d clients, an account each, reconnect to a server that has just read the streams. Each resumes after the last event that it saw; "+
			"%d connect at a time. The measurement ends when each has its subscription and the %d events that it missed.", o.Clients, o.AtOnce, *missed),
		LoadName: "connections",
		Columns: []compare.Column{
			{Name: "seconds", Ratio: true},
			{Name: "CPU µs each", Ratio: true},
			{Name: "server CPU %", Plain: true},
			{Name: "generator CPU %", Plain: true},
		},
	}
	return compare.Run(ctx, "storm", args, getenv, &o, out, func(ctx context.Context, t *compare.Trial) ([]compare.Result, error) {
		return measureServer(ctx, t, *missed)
	})
}

// measureServer measures one server.
func measureServer(ctx context.Context, t *compare.Trial, missed int) ([]compare.Result, error) {
	f, err := t.Feed(ctx, t.Clients, 2*missed)
	if err != nil {
		return nil, err
	}

	err = t.Start(ctx)
	if err != nil {
		return nil, err
	}

	waitForProfile := t.Profile(ctx, "storm", 2*time.Second)
	w, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}

	clients, err := t.Connect(ctx, f.Accounts(), int64(missed), missed)
	if err != nil {
		return nil, err
	}

	used, err := w.End(ctx)
	if err != nil {
		return nil, err
	}

	err = clients.Err()
	if err != nil {
		return nil, err
	}

	result := compare.NewResult(fmt.Sprint(t.Clients), &used,
		used.Wall.Seconds(),
		float64(used.Server.Microseconds())/float64(t.Clients),
		used.ServerPercent,
		used.GeneratorPercent)
	return []compare.Result{result}, waitForProfile()
}
