//go:build linux

package contest

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/redroomrewards/realtime/bench/lab"
	"github.com/redroomrewards/realtime/bench/report"
)

// Options are what all benchmarks of the gateway have in common.
type Options struct {
	Servers []string
	Rounds  int
	Clients int
	AtOnce  int
	Profile string
	Quiet   lab.Quiet
	Output  report.Options
}

// Flags adds the options' flags.
func (o *Options) Flags(flags *flag.FlagSet, clients int, servers string) {
	flags.Func("servers", fmt.Sprintf("which ones, of %s; default %s", strings.Join(names(), ","), servers), func(list string) error {
		o.Servers = strings.Split(list, ",")
		return nil
	})
	o.Servers = strings.Split(servers, ",")
	flags.IntVar(&o.Rounds, "rounds", 3, "how often each server has its turn")
	flags.IntVar(&o.Clients, "clients", clients, "WebSocket connections")
	flags.IntVar(&o.AtOnce, "at-once", 512, "handshakes that clients have under way at the same time")
	flags.StringVar(&o.Profile, "profile", "", "also write profiles of the servers into this directory; the figures are worse for it")
	o.Quiet.Flag(flags)
	o.Output.Flags(flags)
}

func (o *Options) check() error {
	for _, s := range o.Servers {
		if !slices.Contains(names(), s) {
			return fmt.Errorf("there is no server %q; there are %s", s, strings.Join(names(), ", "))
		}
	}
	if min(o.Rounds, o.Clients, o.AtOnce) < 1 {
		return errors.New("all numbers must be above zero")
	}
	return checkFiles(o.Clients)
}

// checkFiles refuses more connections than this process and the servers may have.
// Go programs raise the soft limit to the hard one by themselves.
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
