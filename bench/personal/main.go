//go:build linux

// Command personal measures the cost and the latency of events for ten thousand clients. Each
// client watches an account of its own.
//
// Run it with scripts/bench personal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/bench/compare"
	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
)

func main() { process.Main("bench personal", run) }

type options struct {
	compare.Options
	rates   []int
	warmup  time.Duration
	measure time.Duration
}

// maxRate is far above the rate that one processor can publish.
const maxRate = 1_000_000

func run(ctx context.Context, args []string, getenv func(string) string) error {
	var o options
	flags := flag.NewFlagSet("personal", flag.ContinueOnError)
	o.Flags(flags, 10_000, "gateway,centrifuge,floor")
	rates := flags.String("rates", "2000,10000", "events per second, to all accounts in turn")
	flags.DurationVar(&o.warmup, "warmup", time.Second, "load before each measurement")
	flags.DurationVar(&o.measure, "measure", 5*time.Second, "length of each measurement")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	o.rates, err = harness.ParseNumbers("rates", *rates, maxRate)
	if err != nil {
		return err
	}
	if o.warmup <= 0 || o.measure <= 0 {
		return errors.New("all durations must be above zero")
	}

	out := &compare.Outcome{
		Intro:    fmt.Sprintf("%d clients, an account each; every event goes to one client; %s under each load.", o.Clients, o.measure),
		LoadName: "events/s",
		Columns: []compare.Column{
			{Name: "CPU µs/event", Ratio: true},
			{Name: "p50 ms", Ratio: true},
			{Name: "p99 ms", Ratio: true},
			{Name: "events/s", Plain: true},
			{Name: "server CPU %", Plain: true},
			{Name: "generator CPU %", Plain: true},
			{Name: "Redis CPU %", Plain: true},
		},
	}
	return compare.Run(ctx, "personal", args, getenv, &o.Options, out, func(ctx context.Context, t *compare.Trial) ([]compare.Result, error) {
		return measureServer(ctx, t, &o)
	})
}

// measureServer measures one server at all rates.
func measureServer(ctx context.Context, t *compare.Trial, o *options) ([]compare.Result, error) {
	f, err := t.Feed(ctx, t.Clients, 1)
	if err != nil {
		return nil, err
	}

	err = t.Start(ctx)
	if err != nil {
		return nil, err
	}

	_, err = t.Connect(ctx, f.Accounts(), -1, 0)
	if err != nil {
		return nil, err
	}

	var results []compare.Result
	for _, rate := range o.rates {
		load := strconv.Itoa(rate)
		publish := func(ctx context.Context, d time.Duration) (int, error) {
			return f.Drive(ctx, rate, d)
		}
		d, err := t.Drive(ctx, load, o.warmup, o.measure, 1, publish)
		if err != nil {
			return nil, err
		}

		events := float64(d.Events)
		results = append(results, compare.NewResult(load, &d.Used,
			float64(d.Server.Nanoseconds())/1000/events,
			d.P50.Seconds()*1000,
			d.P99.Seconds()*1000,
			events/d.Wall.Seconds(),
			d.ServerPercent,
			d.GeneratorPercent,
			d.RedisPercent))
	}

	return results, nil
}
