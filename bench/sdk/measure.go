//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
)

func measureSize(ctx context.Context, w *world, _ *options, out *outcome) error {
	cmd := exec.CommandContext(ctx, "node", "size.mjs")
	cmd.Dir = w.js
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("node size.mjs: %w\n%s", err, output)
	}
	return json.Unmarshal(output, &out.Size)
}

// measureOpen opens clients one after another. The libraries take turns.
func measureOpen(ctx context.Context, w *world, o *options, out *outcome) error {
	const turns = 10
	out.OpenMilliseconds = make(map[string][]float64)
	for range turns {
		for _, s := range w.sides {
			var answer struct {
				Milliseconds []float64 `json:"milliseconds"`
			}
			more := map[string]any{"count": (o.opens + turns - 1) / turns}
			err := w.do(ctx, s, "open", "", more, &answer)
			if err != nil {
				return err
			}
			out.OpenMilliseconds[s.library] = append(out.OpenMilliseconds[s.library], answer.Milliseconds...)
		}
	}
	return nil
}

// measureCPU commits events at a rate. One client of each library follows them.
func measureCPU(ctx context.Context, w *world, o *options, out *outcome) error {
	const name = "cpu"
	err := w.follow(ctx, false, name)
	if err != nil {
		return err
	}

	before := make(map[string]time.Duration)
	for _, s := range w.sides {
		before[s.library], err = process.CPU(s.node.cmd.Process.Pid)
		if err != nil {
			return err
		}
	}

	seq := w.seq
	limited, cancel := context.WithTimeout(ctx, o.measure)
	defer cancel()
	err = w.creditAtRate(limited, o.rate)
	if err != nil {
		return err
	}

	err = w.awaitNewest(ctx, name)
	if err != nil {
		return err
	}

	thousands := float64((w.seq-seq)*accountCount) / 1000
	out.CPUMilliseconds = make(map[string]float64)
	for _, s := range w.sides {
		after, err := process.CPU(s.node.cmd.Process.Pid)
		if err != nil {
			return err
		}
		used := after - before[s.library]
		out.CPUMilliseconds[s.library] = float64(used) / float64(time.Millisecond) / thousands
	}
	return w.stopFollowing(ctx, name)
}

// measureSilence lets the network die, and waits until each client has noticed it. No events come.
// The clients are opened one after another, so that they are at different points between two pings.
func measureSilence(ctx context.Context, w *world, o *options, out *outcome) error {
	const period = 25 * time.Second // between the pings of either server
	names := clientNames("silence", o.clients)
	for _, name := range names {
		err := w.follow(ctx, false, name)
		if err != nil {
			return err
		}
		err = pause(ctx, period/time.Duration(o.clients))
		if err != nil {
			return err
		}
	}

	begin := time.Now()
	for _, s := range w.sides {
		s.proxy.setSilent(true)
	}
	out.SilenceSeconds = make(map[string][]float64)
	for _, s := range w.sides {
		for _, name := range names {
			at, err := s.node.awaitState(ctx, name, false, begin)
			if err != nil {
				return fmt.Errorf("%s: %w", s.library, err)
			}
			out.SilenceSeconds[s.library] = append(out.SilenceSeconds[s.library], at.Sub(begin).Seconds())
		}
	}
	for _, s := range w.sides {
		s.proxy.setSilent(false)
	}
	return w.stopFollowing(ctx, names...)
}

// measureRecovery restarts the servers while events come. A client has recovered when it has shown
// an event. The time begins when the new server is ready.
func measureRecovery(ctx context.Context, w *world, o *options, out *outcome) error {
	names := clientNames("recovery", o.clients)
	err := w.follow(ctx, true, names...)
	if err != nil {
		return err
	}

	out.RecoverySeconds = make(map[string][]float64)
	return w.underLoad(ctx, 200, func(ctx context.Context) error {
		for range o.recovers {
			err := pause(ctx, o.settle)
			if err != nil {
				return err
			}

			begin := time.Now()
			err = w.restartServers(ctx, false)
			if err != nil {
				return err
			}

			for _, s := range w.sides {
				for _, name := range names {
					at, err := s.node.awaitState(ctx, name, true, begin)
					if err != nil {
						return fmt.Errorf("%s: %w", s.library, err)
					}
					seconds := max(0, at.Sub(s.readyAt).Seconds())
					out.RecoverySeconds[s.library] = append(out.RecoverySeconds[s.library], seconds)
				}
			}
		}
		return w.stopFollowing(ctx, names...)
	})
}

// measureRestarts restarts the servers again and again while events come. Every second restart is a
// kill.
func measureRestarts(ctx context.Context, w *world, o *options, out *outcome) error {
	const name = "restarts"
	err := w.follow(ctx, false, name)
	if err != nil {
		return err
	}

	err = w.underLoad(ctx, 50, func(ctx context.Context) error {
		for i := range o.restarts {
			err := w.restartServers(ctx, i%2 == 1)
			if err != nil {
				return err
			}

			err = pause(ctx, 500*time.Millisecond)
			if err != nil {
				return err
			}
			if (i+1)%10 == 0 {
				harness.Progress("%d restarts", i+1)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}

	// A client that does not catch up has lost events. The reports say how many.
	late := w.awaitNewest(ctx, name)
	if late != nil {
		harness.Progress("%v", late)
	}
	out.Restarts = make(map[string]seen)
	for _, s := range w.sides {
		var r seen
		err := w.do(ctx, s, "report", name, nil, &r)
		if err != nil {
			return err
		}
		for _, seq := range r.Seqs {
			r.Lost += w.seq - seq
		}
		out.Restarts[s.library] = r
	}
	return w.stopFollowing(ctx, name)
}

// follow opens clients of each library and waits until they are live.
func (w *world) follow(ctx context.Context, untilEvent bool, names ...string) error {
	for _, s := range w.sides {
		for _, name := range names {
			begin := time.Now().Add(-time.Second) // the clock of Node.js may differ by a millisecond
			err := w.do(ctx, s, "follow", name, map[string]any{"untilEvent": untilEvent}, &struct{}{})
			if err != nil {
				return err
			}
			if untilEvent {
				continue // no events come yet
			}
			_, err = s.node.awaitState(ctx, name, true, begin)
			if err != nil {
				return fmt.Errorf("%s: %w", s.library, err)
			}
		}
	}
	return nil
}

func (w *world) stopFollowing(ctx context.Context, names ...string) error {
	for _, s := range w.sides {
		for _, name := range names {
			err := w.do(ctx, s, "close", name, nil, &struct{}{})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// seen is what a client has seen (js/following.mjs).
type seen struct {
	Events    int            `json:"events"`
	Lost      int            `json:"lost"`
	Repeated  int            `json:"repeated"`
	Reordered int            `json:"reordered"`
	Replaced  int            `json:"replaced"` // times that the state of an account replaced events
	Seqs      map[string]int `json:"seqs"`
}

// awaitNewest waits until a client of each library has seen the newest event of each account.
func (w *world) awaitNewest(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for _, s := range w.sides {
		for {
			var r seen
			err := w.do(ctx, s, "report", name, nil, &r)
			if err != nil {
				return err
			}
			if w.isNewest(&r) {
				break
			}
			err = pause(ctx, 20*time.Millisecond)
			if err != nil {
				return fmt.Errorf("%s must have event %d of each account within %v, but has %v", s.library, w.seq, stateTimeout, r.Seqs)
			}
		}
	}
	return nil
}

func (w *world) isNewest(r *seen) bool {
	for _, account := range w.accounts {
		if r.Seqs[account] < w.seq {
			return false
		}
	}
	return true
}

// underLoad calls measure while events come at a rate. measure gets the same context, because a
// server that it starts is killed when its context ends.
func (w *world) underLoad(ctx context.Context, rate int, measure func(context.Context) error) error {
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	loaded := make(chan error, 1)
	go func() { loaded <- w.creditAtRate(loadCtx, rate) }()
	err := measure(ctx)
	stop()
	return errors.Join(err, <-loaded)
}

// restartServers restarts the servers of both libraries at the same time.
func (w *world) restartServers(ctx context.Context, kill bool) error {
	var g errgroup.Group // without a context, which would end with the group and kill the servers
	for _, s := range w.sides {
		g.Go(func() error {
			err := s.restartServer(ctx, kill)
			s.readyAt = time.Now()
			return err
		})
	}
	return g.Wait()
}

func clientNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return names
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
