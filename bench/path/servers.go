package main

import (
	"context"
	"errors"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/stack"
)

// servers are the processes of one measurement.
type servers struct {
	core     *stack.Server
	gateways []*stack.Server
}

// startServers starts a core and gateways, and waits until all are ready.
func startServers(ctx context.Context, b *build, c *stack.Config, gateways int) (*servers, error) {
	core, err := stack.StartCore(ctx, b.core, c)
	if err != nil {
		return nil, err
	}

	s := &servers{core: core}
	for range gateways {
		g, err := stack.StartGateway(ctx, b.gateway, c, core)
		if err != nil {
			return nil, errors.Join(err, s.stopAll())
		}

		s.gateways = append(s.gateways, g)
	}

	return s, nil
}

// stopAll ends the gateways and then the core.
func (s *servers) stopAll() error {
	var errs []error
	for _, g := range s.gateways {
		errs = append(errs, g.Stop())
	}

	return errors.Join(append(errs, s.core.Stop())...)
}

// usage is the CPU time that was used before a moment.
type usage struct {
	harness.Usage               // Servers is the core and all gateways
	core          time.Duration // only the core; zero on other systems than Linux
}

func (s *servers) readUsage(ctx context.Context, h *harness.Harness) (u usage, err error) {
	u.core, _ = process.CPU(s.core.PID())
	u.Usage, err = h.ReadUsage(ctx, append([]*stack.Server{s.core}, s.gateways...)...)
	return u, err
}

// consumption is the CPU time that was used between two readings.
type consumption struct {
	wall     time.Duration
	core     time.Duration
	gateways time.Duration
	redis    time.Duration
	others   float64 // per cent of the machine's processors
}

func (u *usage) since(earlier *usage) consumption {
	all := u.Usage.Since(&earlier.Usage)
	core := u.core - earlier.core
	return consumption{
		wall:     u.At.Sub(earlier.At),
		core:     core,
		gateways: all.Servers - core,
		redis:    all.Redis,
		others:   u.Usage.OthersPercent(&earlier.Usage),
	}
}

// idleCPU is the CPU time of servers without operations, in per cent of one processor.
type idleCPU struct {
	Core    float64 `json:"corePercent"`
	Gateway float64 `json:"gatewayPercent"` // the mean of the gateways
	Redis   float64 `json:"redisPercent"`
	Others  float64 `json:"othersPercent"` // other processes, of all processors
}

// settleTime is the time before the idle time, in which the servers finish the work of new
// connections.
const settleTime = time.Second

// measureIdle returns the CPU time of the servers without operations, over the time d. It returns
// nil for d = 0.
func (s *servers) measureIdle(ctx context.Context, h *harness.Harness, d time.Duration) (*idleCPU, error) {
	if d == 0 {
		return nil, nil
	}

	err := waitFor(ctx, settleTime)
	if err != nil {
		return nil, err
	}

	before, err := s.readUsage(ctx, h)
	if err != nil {
		return nil, err
	}

	err = waitFor(ctx, d)
	if err != nil {
		return nil, err
	}

	after, err := s.readUsage(ctx, h)
	if err != nil {
		return nil, err
	}

	used := after.since(&before)
	percent := func(cpu time.Duration) float64 { return 100 * cpu.Seconds() / used.wall.Seconds() }
	return &idleCPU{
		Core:    percent(used.core),
		Gateway: percent(used.gateways) / float64(len(s.gateways)),
		Redis:   percent(used.redis),
		Others:  used.others,
	}, nil
}

func waitFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
