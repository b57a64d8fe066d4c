package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// trial is one measurement: a build at a rate.
type trial struct {
	build *build
	rate  int
	round int
}

func (t *trial) String() string {
	return fmt.Sprintf("round %d, %d operations per second, %s build",
		t.round, t.rate, t.build.name)
}

// measureAll runs all rounds. In each round the builds take turns at each rate.
func measureAll(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	builds, err := openBuilds(ctx, h, o)
	if err != nil {
		return nil, err
	}

	out := &outcome{
		Environment: h.Environment,
		Rates:       o.rates,
		Accounts:    o.accounts,
		Clients:     o.clients,
		Gateways:    o.gateways,
		Seconds:     o.measure.Seconds(),
		IdleSeconds: o.idle.Seconds(),
	}
	for round := 1; round <= o.rounds; round++ {
		for _, rate := range o.rates {
			for i := range builds {
				r, err := measureQuietly(ctx, h, o,
					&trial{
						build: &builds[i],
						rate:  rate,
						round: round,
					})
				if err != nil {
					return nil, err
				}

				out.Results = append(out.Results, *r)
			}
		}
	}

	out.Repeated = o.quiet.Repeated
	return out, nil
}

func measureQuietly(ctx context.Context, h *harness.Harness, o *options, t *trial) (r *result, err error) {
	harness.Progress("%s, for %s", t, o.warmup+o.measure)
	err = o.quiet.Do(ctx, h, func() (othersPercent float64, err error) {
		r, err = measureTrial(ctx, h, o, t)
		if err != nil {
			return 0, err
		}
		return r.OthersPercent, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}

	r.Round = t.round
	r.Rate = t.rate
	r.Build = t.build.name
	harness.Progress("%s: answer to frame p50 %.1f ms, p99 %.1f ms; %s",
		t, r.AnswerToFrame.P50, r.AnswerToFrame.P99, &r.Faults)
	return r, nil
}

const database = "_path"

// measureTrial starts the servers on a new database, puts the load on them and checks the events
// that arrived.
func measureTrial(ctx context.Context, h *harness.Harness, o *options, t *trial) (_ *result, err error) {
	c := h.Config(database)
	err = h.CreateDatabase(ctx, database, "")
	if err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, h.DropDatabase(cleaning, database),
			h.Redis.Delete(cleaning, c.Namespace))
	}()

	_, err = wallet.Migrate(ctx, c.DatabaseURL)
	if err != nil {
		return nil, err
	}

	s, err := startServers(ctx, t.build, c, o.gateways)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stopAll()) }()

	accounts, err := openAccounts(ctx, h.Secret, s.core.Addr, o)
	defer closeAccounts(accounts)
	if err != nil {
		return nil, err
	}

	watchers, err := openWatchers(ctx, h.Secret, s.gateways, o)
	defer closeWatchers(watchers)
	if err != nil {
		return nil, err
	}

	idle, err := s.measureIdle(ctx, h, o.idle)
	if err != nil {
		return nil, err
	}

	before, err := s.readUsage(ctx, h)
	if err != nil {
		return nil, err
	}

	begin := time.Now().Add(10 * time.Millisecond)
	err = driveSchedule(ctx, accounts, t.rate, begin, o.warmup+o.measure)
	if err != nil {
		return nil, err
	}

	awaitLast(ctx, accounts, watchers)
	after, err := s.readUsage(ctx, h)
	if err != nil {
		return nil, err
	}

	closeWatchers(watchers)
	r := newResult(accounts, watchers, begin.Add(o.warmup), after.since(&before))
	r.Idle = idle
	return r, nil
}

// driveSchedule runs operation k at begin + k/rate, on account k mod accounts. The operations of
// one account wait for each other. The accounts do not wait for each other.
func driveSchedule(ctx context.Context, accounts []*account, rate int, begin time.Time, d time.Duration) error {
	total := int(d.Seconds() * float64(rate))
	errs := make(chan error, len(accounts))
	var wg sync.WaitGroup
	for n, a := range accounts {
		wg.Go(func() {
			for k := n; k < total; k += len(accounts) {
				due := begin.Add(time.Duration(k) * time.Second / time.Duration(rate))
				err := waitFor(ctx, time.Until(due))
				if err != nil {
					errs <- err
					return
				}

				err = a.runOperation(due)
				if err != nil {
					errs <- fmt.Errorf("%s: %w", a.name, err)
					return
				}
			}
		})
	}

	wg.Wait()
	close(errs)
	return <-errs
}

// awaitLast waits until every client has seen the last event of its account. After 10 seconds it
// returns, and the missing events count as lost.
func awaitLast(ctx context.Context, accounts []*account, watchers []*watcher) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for _, w := range watchers {
		for w.last.Load() < accounts[w.account].lastSeq() {
			select {
			case <-ctx.Done():
				return
			case <-poll.C:
			}
		}
	}
}

// scopes are the scopes of the driver's token.
var scopes = []string{auth.ScopeCredit, auth.ScopeHold, auth.ScopeSettle}
