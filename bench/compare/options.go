//go:build linux

package compare

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
)

// Options are the options that all benchmarks of the gateway share.
type Options struct {
	Servers []string
	Other   string // program of the server gateway-other
	Rounds  int
	Clients int
	AtOnce  int
	Profile string
	Quiet   harness.Quiet
	Output  report.Options
}

// Flags adds the options' flags. clients and servers are the defaults.
func (o *Options) Flags(flags *flag.FlagSet, clients int, servers string) {
	flags.Func("servers", fmt.Sprintf("which ones, of %s; default %s", strings.Join(names(), ","), servers), func(list string) error {
		o.Servers = strings.Split(list, ",")
		return nil
	})
	o.Servers = strings.Split(servers, ",")
	flags.StringVar(&o.Other, "other", "", "another build of the gateway, for example the one before a change; it takes part as "+gatewayOther)
	flags.IntVar(&o.Rounds, "rounds", 3, "how often each server is measured")
	flags.IntVar(&o.Clients, "clients", clients, "WebSocket connections")
	flags.IntVar(&o.AtOnce, "at-once", 512, "handshakes at the same time")
	flags.StringVar(&o.Profile, "profile", "", "also write profiles of the servers into this directory; profiling makes the figures worse")
	o.Quiet.Flag(flags)
	o.Output.Flags(flags)
}

func (o *Options) check() error {
	o.addOther()
	for _, s := range o.Servers {
		if !slices.Contains(names(), s) {
			return fmt.Errorf("--servers: %q must be one of %s", s, strings.Join(names(), ", "))
		}
	}
	if slices.Contains(o.Servers, gatewayOther) && o.Other == "" {
		return fmt.Errorf("--servers: %s needs --other", gatewayOther)
	}
	if min(o.Rounds, o.Clients, o.AtOnce) < 1 {
		return errors.New("all numbers must be above zero")
	}
	return checkFiles(o.Clients)
}

// addOther lets the other build take part. It is measured right after the gateway, so that the two
// measurements meet the same neighbours.
func (o *Options) addOther() {
	if o.Other == "" || slices.Contains(o.Servers, gatewayOther) {
		return
	}
	place := slices.Index(o.Servers, gateway) + 1
	if place == 0 {
		place = len(o.Servers)
	}
	o.Servers = slices.Insert(o.Servers, place, gatewayOther)
}

// checkFiles returns an error if this process or a server may not open that many connections. It
// looks at the hard limit, since the Go runtime raises the soft limit to it.
func checkFiles(clients int) error {
	const others = 200
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	if need := uint64(clients + others); limit.Max < need { //nolint:gosec // above zero
		return fmt.Errorf("%d connections need %d open files in one process, the hard limit is %d: raise it (ulimit -Hn %d as root), or use fewer --clients",
			clients, need, limit.Max, need)
	}
	return nil
}
