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
	Other   string // program of the server gateway-other; empty: not measured
	Rounds  int
	Clients int
	AtOnce  int
	Profile string
	Quiet   harness.Quiet
	Output  report.Options
}

// Flags adds the options' flags. clients and servers are the defaults.
func (o *Options) Flags(flags *flag.FlagSet, clients int, servers string) {
	usage := fmt.Sprintf("comma-separated list of servers, of %s; default %s",
		strings.Join(serverNames(), ","), servers)
	flags.Func("servers", usage, func(list string) error {
		o.Servers = strings.Split(list, ",")
		return nil
	})
	o.Servers = strings.Split(servers, ",")
	flags.StringVar(&o.Other, "other", "",
		"another build of the gateway, for example the one before a change; it is measured as "+gatewayOther)
	flags.IntVar(&o.Rounds, "rounds", 3, "measurements of each server")
	flags.IntVar(&o.Clients, "clients", clients, "WebSocket connections")
	flags.IntVar(&o.AtOnce, "at-once", 512, "concurrent handshakes")
	flags.StringVar(&o.Profile, "profile", "",
		"write profiles of the servers into this directory; profiling makes the figures worse")
	o.Quiet.Flag(flags)
	o.Output.Flags(flags)
}

// validate returns an error if an option is invalid. It adds the server gateway-other if --other is
// set.
func (o *Options) validate() error {
	o.addOther()
	for _, s := range o.Servers {
		if !slices.Contains(serverNames(), s) {
			return fmt.Errorf("--servers: %q must be one of %s",
				s, strings.Join(serverNames(), ", "))
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

// addOther adds the other build to the servers, right after the gateway. The load of other
// processes is then similar for both.
func (o *Options) addOther() {
	if o.Other == "" || slices.Contains(o.Servers, gatewayOther) {
		return
	}

	index := slices.Index(o.Servers, gateway) + 1
	if index == 0 {
		index = len(o.Servers)
	}

	o.Servers = slices.Insert(o.Servers, index, gatewayOther)
}

// checkFiles returns an error if a process may not open as many connections. It checks the hard
// limit, because the Go runtime raises the soft limit to it.
func checkFiles(clients int) error {
	const otherFiles = 200
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}

	need := uint64(clients + otherFiles) //nolint:gosec // above zero
	if limit.Max < need {
		return fmt.Errorf("the hard limit of open files must be at least %d for %d connections, but is %d: raise it (ulimit -Hn %d as root) or use fewer --clients",
			need, clients, limit.Max, need)
	}
	return nil
}
