package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/bench/lab"
	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// programs are what is measured.
type programs struct{ core, gateway string }

func measureAll(ctx context.Context, l *lab.Lab, o *options) (*outcome, error) {
	lab.Progress("building")
	var p programs
	var err error
	if p.core, err = l.Build(ctx, "cmd/core"); err != nil {
		return nil, err
	}
	if p.gateway, err = l.Build(ctx, "cmd/gateway"); err != nil {
		return nil, err
	}
	out := &outcome{
		Environment: l.Environment, Rate: o.rate, Accounts: o.accounts, Clients: o.clients, Gateways: o.gateways, Seconds: o.measure.Seconds(),
	}
	for round := 1; round <= o.rounds; round++ {
		lab.Progress("round %d: %d operations per second for %s", round, o.rate, o.warmup+o.measure)
		var r *result
		err := o.quiet.Do(ctx, l, func() (others float64, err error) {
			if r, err = measure(ctx, l, o, &p); err != nil {
				return 0, err
			}
			return r.OthersPercent, nil
		})
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", round, err)
		}
		r.Round = round
		lab.Progress("round %d: answer to frame p50 %.1f ms, p99 %.1f ms; %s", round, r.AnswerToFrame.P50, r.AnswerToFrame.P99, &r.Faults)
		out.Results = append(out.Results, *r)
	}
	out.Repeated = o.quiet.Repeated
	return out, nil
}

const database = "_path"

// measure is one round: servers, clients, load, and a look at what arrived.
func measure(ctx context.Context, l *lab.Lab, o *options, p *programs) (_ *result, err error) {
	c := l.Config(database)
	if err := l.CreateDatabase(ctx, database, ""); err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, l.DropDatabase(cleaning, database), l.Redis.Delete(cleaning, c.Namespace))
	}()
	if _, err := wallet.Migrate(ctx, c.DatabaseURL); err != nil {
		return nil, err
	}
	core, err := stack.StartCore(ctx, p.core, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, core.Stop()) }()
	gateways := make([]*stack.Server, 0, o.gateways)
	defer func() {
		for _, g := range gateways {
			err = errors.Join(err, g.Stop())
		}
	}()
	for range o.gateways {
		g, err := stack.StartGateway(ctx, p.gateway, c, core)
		if err != nil {
			return nil, err
		}
		gateways = append(gateways, g)
	}

	accounts, err := openAccounts(ctx, l.Secret, core.Addr, o)
	defer closeAccounts(accounts)
	if err != nil {
		return nil, err
	}
	watchers, err := openWatchers(ctx, l.Secret, gateways, o)
	defer closeWatchers(watchers)
	if err != nil {
		return nil, err
	}
	before, err := readCPU(ctx, l, core, gateways)
	if err != nil {
		return nil, err
	}
	begin := time.Now().Add(10 * time.Millisecond)
	if err := drive(ctx, accounts, o, begin); err != nil {
		return nil, err
	}
	awaitLast(ctx, accounts, watchers)
	after, err := readCPU(ctx, l, core, gateways)
	if err != nil {
		return nil, err
	}
	closeWatchers(watchers)
	return newResult(accounts, watchers, begin.Add(o.warmup), &before, &after), nil
}

// cpu is the CPU time that was used, of all and of the core.
type cpu struct {
	all  lab.Usage
	core lab.Usage
}

func readCPU(ctx context.Context, l *lab.Lab, core *stack.Server, gateways []*stack.Server) (c cpu, err error) {
	if c.core, err = l.ReadUsage(ctx, core); err != nil {
		return c, err
	}
	c.all, err = l.ReadUsage(ctx, append([]*stack.Server{core}, gateways...)...)
	return c, err
}

// drive carries out the schedule: operation k at begin + k/rate, on account k mod
// accounts. An account's operations wait for each other, accounts do not.
func drive(ctx context.Context, accounts []*account, o *options, begin time.Time) error {
	total := int((o.warmup + o.measure).Seconds() * float64(o.rate))
	errs := make(chan error, len(accounts))
	var wg sync.WaitGroup
	for n, a := range accounts {
		wg.Go(func() {
			for k := n; k < total; k += len(accounts) {
				due := begin.Add(time.Duration(k) * time.Second / time.Duration(o.rate))
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
					errs <- ctx.Err()
					return
				}
				if err := a.operate(due); err != nil {
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

// awaitLast waits until every client has seen its account's last event, or long
// enough to call it lost.
func awaitLast(ctx context.Context, accounts []*account, watchers []*watcher) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for _, w := range watchers {
		for w.last.Load() < accounts[w.account].seq() {
			select {
			case <-ctx.Done():
				return
			case <-poll.C:
			}
		}
	}
}

// scopes of the driver's token.
var scopes = []string{auth.ScopeCredit, auth.ScopeHold, auth.ScopeSettle}
