package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// spec describes a trial to its process.
type spec struct {
	Variant   string `json:"variant"`
	Namespace string `json:"namespace"`
	Events    int    `json:"events"`
	Batch     int    `json:"batch"`
}

// figures are the results of a trial. All but the seconds are per event.
type figures struct {
	CPU         float64 `json:"cpuMicros"`      // of the process
	Redis       float64 `json:"redisCPUMicros"` // of the server
	Seconds     float64 `json:"seconds"`        // of all events
	Markers     float64 `json:"doneMarkers"`    // that were written
	StreamBytes float64 `json:"streamBytes"`    // that publishing left in the streams
	DedupBytes  float64 `json:"dedupBytes"`     // that publishing left beside them
}

// A trial is the state of the process that runs it.
type trial struct {
	spec
	rdb  *stack.Redis
	keys bus.Keys
}

// A variant is one way to publish or to consume. It prepares on its own account and
// calls measure once with what counts.
type variant struct {
	name string // as in tables
	do   func(ctx context.Context, t *trial, measure func(func() error) error) error
}

func runTrial(ctx context.Context, text string, w io.Writer) error {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("spec of a trial: %w", err)
	}
	v := variantNamed(s.Variant)
	if v == nil {
		return fmt.Errorf("there is no variant %q", s.Variant)
	}
	rdb, err := stack.OpenRedis(ctx, os.Getenv("TEST_REDIS_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	t := &trial{spec: s, rdb: rdb, keys: bus.Keys{Namespace: s.Namespace}.WithDefaults()}
	var f figures
	if err := v.do(ctx, t, func(work func() error) (err error) {
		f, err = t.measure(ctx, work)
		return err
	}); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(f)
}

// reading is what was used up to a moment.
type reading struct {
	at           time.Time
	own, redis   time.Duration
	memory, sadd int64
}

func (t *trial) read(ctx context.Context) (r reading, err error) {
	if r.memory, err = strconv.ParseInt(t.rdb.Field(ctx, "memory", "used_memory"), 10, 64); err != nil {
		return r, fmt.Errorf("INFO memory of Redis: %w", err)
	}
	calls, _, _ := strings.Cut(strings.TrimPrefix(t.rdb.Field(ctx, "commandstats", "cmdstat_sadd"), "calls="), ",")
	r.sadd, _ = strconv.ParseInt(calls, 10, 64) // no line before the first call
	r.redis = t.rdb.CPU(ctx)
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return r, err
	}
	r.own, r.at = time.Duration(own.Utime.Nano()+own.Stime.Nano()), time.Now()
	return r, nil
}

// measure is what work costs.
func (t *trial) measure(ctx context.Context, work func() error) (f figures, err error) {
	runtime.GC() // of the preparation
	before, err := t.read(ctx)
	if err != nil {
		return f, err
	}
	if err := work(); err != nil {
		return f, err
	}
	after, err := t.read(ctx)
	if err != nil {
		return f, err
	}
	n := float64(t.Events)
	f.CPU = float64((after.own - before.own).Nanoseconds()) / 1000 / n
	f.Redis = float64((after.redis - before.redis).Nanoseconds()) / 1000 / n
	f.Seconds = after.at.Sub(before.at).Seconds()
	f.Markers = float64(after.sadd-before.sadd) / n

	// What is left when the streams are gone is the dedup keys and their share of
	// Redis' tables.
	for p := range t.keys.Partitions {
		if err := t.rdb.Del(ctx, t.keys.Stream(p)).Err(); err != nil {
			return f, err
		}
	}
	bare, err := t.read(ctx)
	if err != nil {
		return f, err
	}
	f.StreamBytes = float64(after.memory-bare.memory) / n
	f.DedupBytes = float64(bare.memory-before.memory) / n
	return f, nil
}

const payloadBytes = 300

// makeEvents makes events like a hold's first, over 1,000 accounts.
func (t *trial) makeEvents(keyed bool) []bus.Event {
	data := []byte(`{"version":"1.0","pad":"` + strings.Repeat("x", payloadBytes-26) + `"}`)
	events := make([]bus.Event, t.Events)
	for i := range events {
		events[i] = bus.Event{
			ID: eventID(i), Type: "wallet.escrow_held", Account: fmt.Sprintf("user:%06d", i%1000),
			Amount: 5, Reason: "chip_menu_purchase", Feature: "chip_menu", Data: data,
		}
		if keyed {
			events[i].Key = eventID(i) + ":user"
		}
	}
	return events
}

const idPrefix = "0198c0de-0000-7000-8000-"

func eventID(i int) string { return fmt.Sprintf("%s%012d", idPrefix, i) }

// eventNumber is eventID backwards.
func eventNumber(id string) (int, error) { return strconv.Atoi(strings.TrimPrefix(id, idPrefix)) }
