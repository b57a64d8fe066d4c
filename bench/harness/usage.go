package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/stack"
)

// Usage is the CPU time that was used before a moment. Most fields are zero on systems without
// /proc.
type Usage struct {
	At        time.Time
	Servers   time.Duration
	Postgres  time.Duration
	Redis     time.Duration
	Generator time.Duration // this process
	machine   process.Machine
}

// ReadUsage reads the CPU time of the given servers, Postgres, Redis, this process and the whole
// machine.
func (h *Harness) ReadUsage(ctx context.Context, servers ...*stack.Server) (Usage, error) {
	u := Usage{
		At:       time.Now(),
		Postgres: h.Postgres.CPU(),
		Redis:    h.Redis.CPU(ctx),
	}
	for _, s := range servers {
		d, _ := process.CPU(s.PID())
		u.Servers += d
	}

	u.machine, _ = process.ReadMachine()

	var own syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	if err != nil {
		return Usage{}, err
	}

	u.Generator = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u, nil
}

// Since returns the CPU time that was used after an earlier reading.
func (u *Usage) Since(earlier *Usage) Usage {
	return Usage{
		At:        u.At,
		Servers:   u.Servers - earlier.Servers,
		Postgres:  u.Postgres - earlier.Postgres,
		Redis:     u.Redis - earlier.Redis,
		Generator: u.Generator - earlier.Generator,
		machine: process.Machine{
			Busy:   u.machine.Busy - earlier.machine.Busy,
			Stolen: u.machine.Stolen - earlier.machine.Stolen,
		},
	}
}

// OthersPercent returns the share of this machine's processors that other processes, and other
// machines on the same host, took since an earlier reading.
func (u *Usage) OthersPercent(earlier *Usage) float64 {
	d := u.Since(earlier)
	others := d.machine.Busy + d.machine.Stolen - d.Servers - d.Postgres - d.Redis - d.Generator
	available := u.At.Sub(earlier.At).Seconds() * float64(runtime.NumCPU())
	return max(0, 100*others.Seconds()/available)
}

// Quiet waits until the machine is quiet, and repeats a measurement that other processes disturbed.
// On a shared machine the figures of two measurements can only be compared if other processes use
// little.
type Quiet struct {
	MaxPercent float64 // share of the processors that other processes may use; 0: no limit
	Repeated   int     // measurements that were discarded so far
}

// Flag adds the flag --quiet.
func (q *Quiet) Flag(flags *flag.FlagSet) {
	flags.Float64Var(&q.MaxPercent, "quiet", 0,
		"per cent of the processors that other processes may use; each measurement waits until they use less, and is repeated if they used more; 0: no limit")
}

const (
	quietFor    = 2 * time.Second
	quietWithin = 10 * time.Minute
	maxRepeats  = 20 // of one measurement
)

// Do repeats measure until a measurement was not disturbed. measure returns OthersPercent.
func (q *Quiet) Do(ctx context.Context, h *Harness, measure func() (othersPercent float64, err error)) error {
	for range maxRepeats {
		err := q.awaitQuiet(ctx, h)
		if err != nil {
			return err
		}

		others, err := measure()
		if err != nil || q.MaxPercent == 0 || others <= q.MaxPercent {
			return err
		}

		q.Repeated++
		Progress("other processes used %.0f %% of the processors; repeating the measurement",
			others)
	}

	return fmt.Errorf("other processes disturbed the measurement %d times: the machine is not quiet enough for --quiet %g",
		maxRepeats, q.MaxPercent)
}

// awaitQuiet waits until the machine is quiet.
func (q *Quiet) awaitQuiet(ctx context.Context, h *Harness) error {
	if q.MaxPercent == 0 {
		return nil
	}

	poll := time.NewTicker(quietFor)
	defer poll.Stop()
	begin := time.Now()
	before, err := h.ReadUsage(ctx)
	if err != nil {
		return err
	}

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}

		now, err := h.ReadUsage(ctx)
		if err != nil {
			return err
		}
		if now.OthersPercent(&before) <= q.MaxPercent {
			return nil
		}
		if time.Since(begin) > quietWithin {
			return errors.New("the machine must become quiet within 10 minutes")
		}

		before = now
	}
}
