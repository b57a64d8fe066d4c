package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
)

// result is the result of one trial.
type result struct {
	Round         int     `json:"round"`
	Variant       string  `json:"variant"`
	OthersPercent float64 `json:"othersPercent"` // share of the processors that other processes used
	figures
}

func measureAll(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	out := &outcome{
		Environment: h.Environment,
		Events:      o.events,
		Batch:       o.batch,
		Rounds:      o.rounds,
	}
	for round := 1; round <= o.rounds; round++ {
		for _, v := range append(publishVariants(), consumeVariants()...) {
			r := result{Round: round, Variant: v.name}
			err := o.quiet.Do(ctx, h, func() (others float64, err error) {
				err = runTrialProcess(ctx, h, o, &r)
				if err != nil {
					return 0, err
				}
				return r.OthersPercent, nil
			})
			if err != nil {
				return nil, fmt.Errorf("round %d: %s: %w", round, v.name, err)
			}

			harness.Progress("round %d: %s: %.2f µs, Redis %.2f µs an event",
				round, v.name, r.CPU, r.Redis)
			out.Results = append(out.Results, r)
		}
	}

	out.Repeated = o.quiet.Repeated
	return out, nil
}

// maxTrial is the time after which a trial fails.
const maxTrial = 2 * time.Minute

// runTrialProcess runs one trial in a process of its own. It first waits until Redis has finished
// the work of the previous trial.
func runTrialProcess(ctx context.Context, h *harness.Harness, o *options, r *result) (err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTrial)
	defer cancel()

	c := h.Config("")
	err = awaitIdleRedis(ctx, h)
	if err != nil {
		return err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, h.Redis.Delete(cleaning, c.Namespace))
	}()

	program, err := os.Executable()
	if err != nil {
		return err
	}

	text, err := json.Marshal(spec{
		Variant:   r.Variant,
		Namespace: c.Namespace,
		Events:    o.events,
		Batch:     o.batch,
	})
	if err != nil {
		return err
	}

	before, err := h.ReadUsage(ctx)
	if err != nil {
		return err
	}

	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "trial", string(text)) //nolint:gosec // this program itself
	cmd.Env = append(os.Environ(), "TEST_REDIS_URL="+c.RedisURL)
	cmd.Stdout = &stdout
	cmd.Stderr = &stderr
	// The trial must not get the SIGINT of Ctrl-C. The benchmark gets it and ends the trial.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}

	after, err := h.ReadUsage(ctx)
	if err != nil {
		return err
	}

	after.Servers += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.OthersPercent = after.OthersPercent(&before)
	return json.Unmarshal(stdout.Bytes(), &r.figures)
}

// awaitIdleRedis waits until Redis has released the memory of the previous trial. Redis frees
// memory in the background and shrinks its tables ten times a second.
func awaitIdleRedis(ctx context.Context, h *harness.Harness) error {
	poll := time.NewTicker(150 * time.Millisecond)
	defer poll.Stop()
	last := ""
	for range 20 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}

		now := h.Redis.Field(ctx, "memory", "used_memory")
		pending := h.Redis.Field(ctx, "memory", "lazyfree_pending_objects")
		if now == last && pending == "0" {
			return nil
		}

		last = now
	}

	return nil // another program is using this Redis
}
