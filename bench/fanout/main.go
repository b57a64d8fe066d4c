//go:build linux

// Command fanout measures the cost and the latency of the events of one account with a thousand
// subscribers, at several rates. It also measures the largest number of deliveries per second on
// one processor.
//
// Run it with scripts/bench fanout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/bench/compare"
	"github.com/redroomrewards/realtime/bench/feed"
	"github.com/redroomrewards/realtime/bench/process"
)

func main() { process.Main("bench fanout", run) }

type options struct {
	compare.Options
	rates   string
	warmup  time.Duration
	measure time.Duration
}

// maxRate is the rate at which the server is always busy.
const maxRate = "max"

func run(ctx context.Context, args []string, getenv func(string) string) error {
	var o options
	flags := flag.NewFlagSet("fanout", flag.ContinueOnError)
	o.Flags(flags, 1000, "gateway,centrifuge,centrifuge-10ms,floor")
	flags.StringVar(&o.rates, "rates", "20,50,100,300,max",
		"events per second, each to all clients; max: as many as the server can deliver")
	flags.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "load before each measurement")
	flags.DurationVar(&o.measure, "measure", 3*time.Second, "length of each measurement")
	err := flags.Parse(args)
	if err != nil {
		return err
	}

	rates := strings.Split(o.rates, ",")
	for _, rate := range rates {
		n, err := strconv.Atoi(rate)
		isNumber := err == nil && n >= 1
		if rate != maxRate && !isNumber {
			return fmt.Errorf("--rates: %q must be a number above zero, or max", rate)
		}
	}

	if o.warmup <= 0 || o.measure <= 0 {
		return errors.New("all durations must be above zero")
	}

	out := &compare.Outcome{
		Intro:    fmt.Sprintf("Each event of one account goes to %d clients; %s under each load.", o.Clients, o.measure),
		LoadName: "events/s",
		Columns: []compare.Column{
			{Name: "CPU µs/delivery", Ratio: true},
			{
				Name:  "deliveries/s",
				Ratio: true,
				Plain: true,
			},
			{Name: "p50 ms", Ratio: true},
			{Name: "p99 ms", Ratio: true},
			{Name: "server CPU %", Plain: true},
			{Name: "generator CPU %", Plain: true},
			{Name: "Redis CPU %", Plain: true},
		},
	}
	return compare.Run(ctx, "fanout", args, getenv, &o.Options, out, func(ctx context.Context, t *compare.Trial) ([]compare.Result, error) {
		return measureServer(ctx, t, &o, rates)
	})
}

// measureServer measures one server at all rates.
func measureServer(ctx context.Context, t *compare.Trial, o *options, rates []string) ([]compare.Result, error) {
	f, err := t.Feed(ctx, 1, 1)
	if err != nil {
		return nil, err
	}

	err = t.Start(ctx)
	if err != nil {
		return nil, err
	}

	clients, err := t.Connect(ctx, f.Accounts(), -1, 0)
	if err != nil {
		return nil, err
	}

	var results []compare.Result
	for _, rate := range rates {
		publish := func(ctx context.Context, d time.Duration) (int, error) {
			n, _ := strconv.Atoi(rate) // run has checked the text
			return f.Drive(ctx, n, d)
		}
		if rate == maxRate {
			publish = func(ctx context.Context, d time.Duration) (int, error) {
				return floodClients(ctx, f, clients.Events, int64(t.Clients), d)
			}
		}

		d, err := t.Drive(ctx, rate, o.warmup, o.measure, t.Clients, publish)
		if err != nil {
			return nil, err
		}

		deliveries := float64(d.Events) * float64(t.Clients)
		results = append(results, compare.NewResult(rate, &d.Used,
			float64(d.Server.Nanoseconds())/1000/deliveries,
			deliveries/d.Wall.Seconds(),
			d.P50.Seconds()*1000,
			d.P99.Seconds()*1000,
			d.ServerPercent,
			d.GeneratorPercent,
			d.RedisPercent))
	}

	return results, nil
}

// floodClients keeps the server busy without overflowing the queue of a client. It publishes the
// next batch only while each client waits for at most `window` events.
func floodClients(ctx context.Context, f *feed.Feed, arrived func() int64, clients int64, d time.Duration) (int, error) {
	const batch, window = 32, 192
	begin := time.Now()
	before := arrived()
	published := int64(0)
	for time.Since(begin) < d {
		err := ctx.Err()
		if err != nil {
			return int(published), err
		}

		missing := published*clients - (arrived() - before)
		if missing > window*clients {
			time.Sleep(100 * time.Microsecond)
			continue
		}

		err = f.Publish(ctx, 0, batch)
		if err != nil {
			return int(published), err
		}

		published += batch
	}

	return int(published), nil
}
