package lab

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

// Usage is CPU time used up to a moment. Away from Linux, where there is no
// /proc, most of it is zero.
type Usage struct {
	At                                  time.Time
	Servers, Postgres, Redis, Generator time.Duration
	machine                             process.Machine
}

// ReadUsage reads what the given servers, Postgres, Redis, this process and the
// whole machine have used.
func (l *Lab) ReadUsage(ctx context.Context, servers ...*stack.Server) (Usage, error) {
	u := Usage{At: time.Now(), Postgres: l.Postgres.CPU(), Redis: l.Redis.CPU(ctx)}
	for _, s := range servers {
		d, _ := process.CPU(s.PID())
		u.Servers += d
	}
	u.machine, _ = process.ReadMachine()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return Usage{}, err
	}
	u.Generator = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u, nil
}

// Since is what was used after an earlier reading.
func (u *Usage) Since(earlier *Usage) Usage {
	return Usage{
		At: u.At, Servers: u.Servers - earlier.Servers, Postgres: u.Postgres - earlier.Postgres,
		Redis: u.Redis - earlier.Redis, Generator: u.Generator - earlier.Generator,
		machine: process.Machine{Busy: u.machine.Busy - earlier.machine.Busy, Stolen: u.machine.Stolen - earlier.machine.Stolen},
	}
}

// OthersPercent is what other processes, and machines on the same host, took of
// this machine's processors since an earlier reading: how quiet it was not.
func (u *Usage) OthersPercent(earlier *Usage) float64 {
	d := u.Since(earlier)
	others := d.machine.Busy + d.machine.Stolen - d.Servers - d.Postgres - d.Redis - d.Generator
	available := u.At.Sub(earlier.At).Seconds() * float64(runtime.NumCPU())
	return max(0, 100*others.Seconds()/available)
}

// Quiet measures when the machine is quiet, and again when it was not. On a
// machine that is shared, a comparison of two measurements otherwise compares
// their neighbours.
type Quiet struct {
	MaxPercent float64 // of the processors that others may use; 0: whatever they do
	Repeated   int     // measurements that were thrown away so far
}

// Flag adds the flag --quiet.
func (q *Quiet) Flag(flags *flag.FlagSet) {
	flags.Float64Var(&q.MaxPercent, "quiet", 0, "per cent of the processors that other processes may use: each measurement waits for that, and is repeated when it was disturbed; 0: as it comes")
}

const (
	quietFor    = 2 * time.Second
	quietWithin = 10 * time.Minute
	maxRepeats  = 20 // of one measurement
)

// Do calls measure, which returns OthersPercent, until it was undisturbed.
func (q *Quiet) Do(ctx context.Context, l *Lab, measure func() (othersPercent float64, err error)) error {
	for range maxRepeats {
		if err := q.await(ctx, l); err != nil {
			return err
		}
		others, err := measure()
		if err != nil || q.MaxPercent == 0 || others <= q.MaxPercent {
			return err
		}
		q.Repeated++
		Progress("others took %.0f %% of the processors: once more", others)
	}
	return fmt.Errorf("disturbed %d times: the machine is not quiet enough for --quiet %g", maxRepeats, q.MaxPercent)
}

// await waits for a quiet moment.
func (q *Quiet) await(ctx context.Context, l *Lab) error {
	if q.MaxPercent == 0 {
		return nil
	}
	look := time.NewTicker(quietFor)
	defer look.Stop()
	begin := time.Now()
	before, err := l.ReadUsage(ctx)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
		now, err := l.ReadUsage(ctx)
		if err != nil {
			return err
		}
		if now.OthersPercent(&before) <= q.MaxPercent {
			return nil
		}
		if time.Since(begin) > quietWithin {
			return errors.New("the machine did not get quiet within 10 minutes")
		}
		before = now
	}
}
