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

// figures are the results of a trial, per event except for Seconds.
type figures struct {
	CPU         float64 `json:"cpuMicros"`      // CPU time of the process
	Redis       float64 `json:"redisCPUMicros"` // CPU time of Redis
	Seconds     float64 `json:"seconds"`        // duration of the trial
	Markers     float64 `json:"doneMarkers"`    // done markers that were written
	StreamBytes float64 `json:"streamBytes"`    // memory of the streams
	DedupBytes  float64 `json:"dedupBytes"`     // memory of the dedup keys
}

// A trial is the state of the process that runs it.
type trial struct {
	spec
	rdb  *stack.Redis
	keys bus.Keys
}

// A variant is one way to publish or to consume. It prepares the trial and then calls measure once
// with the work that counts.
type variant struct {
	name string // in tables
	do   work
}

// runTrial runs the trial that text describes, and writes its figures as JSON.
func runTrial(ctx context.Context, text string, w io.Writer) error {
	var s spec
	err := json.Unmarshal([]byte(text), &s)
	if err != nil {
		return fmt.Errorf("decode the spec of the trial: %w", err)
	}

	v := findVariant(s.Variant)
	if v == nil {
		return fmt.Errorf("unknown variant %q", s.Variant)
	}

	rdb, err := stack.OpenRedis(ctx, os.Getenv("TEST_REDIS_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()

	t := &trial{
		spec: s,
		rdb:  rdb,
		keys: bus.Keys{Namespace: s.Namespace}.WithDefaults(),
	}
	var f figures
	err = v.do(ctx, t, func(work func() error) (err error) {
		f, err = t.measureWork(ctx, work)
		return err
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(f)
}

// counters are counters of resources at one moment.
type counters struct {
	time   time.Time
	own    time.Duration // CPU time of this process
	redis  time.Duration // CPU time of Redis
	memory int64         // used by Redis
	sadd   int64         // calls of SADD
}

func (t *trial) readCounters(ctx context.Context) (r counters, err error) {
	r.memory, err = strconv.ParseInt(t.rdb.Field(ctx, "memory", "used_memory"), 10, 64)
	if err != nil {
		return r, fmt.Errorf("read INFO memory of Redis: %w", err)
	}

	sadd := t.rdb.Field(ctx, "commandstats", "cmdstat_sadd")
	calls, _, _ := strings.Cut(strings.TrimPrefix(sadd, "calls="), ",")
	r.sadd, _ = strconv.ParseInt(calls, 10, 64) // Redis has no such line before the first call
	r.redis = t.rdb.CPU(ctx)

	var own syscall.Rusage
	err = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	if err != nil {
		return r, err
	}

	r.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	r.time = time.Now()
	return r, nil
}

// measureWork runs work and returns its figures.
func (t *trial) measureWork(ctx context.Context, work func() error) (f figures, err error) {
	runtime.GC() // removes the garbage of the preparation
	before, err := t.readCounters(ctx)
	if err != nil {
		return f, err
	}

	err = work()
	if err != nil {
		return f, err
	}

	after, err := t.readCounters(ctx)
	if err != nil {
		return f, err
	}

	n := float64(t.Events)
	f.CPU = float64((after.own - before.own).Nanoseconds()) / 1000 / n
	f.Redis = float64((after.redis - before.redis).Nanoseconds()) / 1000 / n
	f.Seconds = after.time.Sub(before.time).Seconds()
	f.Markers = float64(after.sadd-before.sadd) / n

	// Without the streams the rest of the memory belongs to the dedup keys.
	for p := range t.keys.Partitions {
		err := t.rdb.Del(ctx, t.keys.Stream(p)).Err()
		if err != nil {
			return f, err
		}
	}

	withoutStreams, err := t.readCounters(ctx)
	if err != nil {
		return f, err
	}

	f.StreamBytes = float64(after.memory-withoutStreams.memory) / n
	f.DedupBytes = float64(withoutStreams.memory-before.memory) / n
	return f, nil
}

const payloadBytes = 300

// makeEvents returns events like the first event of a hold, for 1,000 accounts. With keyed they
// have a Key.
func (t *trial) makeEvents(keyed bool) []bus.Event {
	data := []byte(`{"version":"1.0","pad":"` + strings.Repeat("x", payloadBytes-26) + `"}`)
	events := make([]bus.Event, t.Events)
	for i := range events {
		events[i] = bus.Event{
			ID:      eventID(i),
			Type:    "wallet.escrow_held",
			Account: fmt.Sprintf("user:%06d", i%1000),
			Amount:  5,
			Reason:  "chip_menu_purchase",
			Feature: "chip_menu",
			Data:    data,
		}
		if keyed {
			events[i].Key = eventID(i) + ":user"
		}
	}

	return events
}

const idPrefix = "0198c0de-0000-7000-8000-"

func eventID(i int) string { return fmt.Sprintf("%s%012d", idPrefix, i) }

// eventNumber returns the number i of eventID(i).
func eventNumber(id string) (int, error) { return strconv.Atoi(strings.TrimPrefix(id, idPrefix)) }
