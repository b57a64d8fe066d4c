package chaos

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// episode is one world with its workers, clients and faults.
type episode struct {
	w       *world
	load    *load
	viewers []*viewer
	app     *viewer // may be late: it tries to connect again after up to 20 s, so recoveries do not wait for it
	keys    bus.Keys
	report  *report

	lostStreams    bool // a fault has deleted entries of streams
	repeatsEntries bool // a fault has evicted what tells that a stream has an entry already
	probes         int
}

// probeAccounts are credited after each fault, to measure the recovery.
var probeAccounts = []string{"user:probe-0", "user:probe-1"}

const probePrefix = "probe-"

// episodeOptions are the options of one episode.
type episodeOptions struct {
	seed   uint64
	redis  string // one of redisForms
	lossy  bool   // backups are restored
	length time.Duration
	report *report
}

// runEpisode runs one episode.
func runEpisode(t *testing.T, o episodeOptions) {
	j := newJournal(t)
	w := newWorld(t, j, o.redis)
	e := &episode{w: w, load: newLoad(w, 6, 3, o.lossy), keys: bus.Keys{Namespace: namespace}.WithDefaults(), report: o.report, lostStreams: o.lossy}
	e.load.createAccounts()
	e.creditProbes(w.cores)
	e.startViewers()
	before := e.measurePrograms()
	defer e.report.addEpisode(e)
	monitor := e.startMonitor()
	e.load.start(o.seed, 6)
	e.runSchedule(newSchedule(o.seed, e.kinds(o.length)), o.length)
	e.load.stop()
	monitor.stop()
	e.report.addWrong(monitor.longest)
	if j.isBroken() {
		return
	}
	e.checkEverything()
	e.checkPrograms(before)
}

func (e *episode) kinds(length time.Duration) []*faultKind {
	var all []*faultKind
	all = append(all, processFaults()...)
	all = append(all, databaseFaults()...)
	all = append(all, redisFaults()...)
	all = append(all, networkFaults()...)
	if length > shortEpisode {
		all = append(all, longFaults()...)
	}
	if e.load.lossy {
		all = append(all, backupFault(), backupFault(), backupFault(), backupFault())
	}
	all = append(all, e.w.redis.faults()...)
	wanted := regexp.MustCompile(*only)
	return slices.DeleteFunc(all, func(k *faultKind) bool { return !wanted.MatchString(k.name) })
}

// startViewers starts the clients. Each of them watches all accounts.
func (e *episode) startViewers() {
	accounts := append(e.load.accounts(), probeAccounts...)
	for i, o := range []viewerOptions{
		{first: 0, tokenTTL: time.Hour},
		// Without chains a client cannot be told that the history has changed.
		{first: 1, tokenTTL: time.Hour, omitsChain: !e.load.lossy},
		{first: 0, tokenTTL: 7 * time.Second},
		{first: 1, tokenTTL: time.Hour, sse: true},
	} {
		e.viewers = append(e.viewers, startViewer(e.w, e.load, fmt.Sprint("viewer-", i), o, accounts))
	}
	e.app = startViewer(e.w, e.load, "app", viewerOptions{app: true, tokenTTL: time.Hour}, accounts)
}

// runSchedule injects faults until the time is over: one at a time and bursts of overlapping ones, in
// turn. Each of them ends with the recovery of the whole system.
func (e *episode) runSchedule(s *schedule, length time.Duration) {
	small := smallBurst
	if length <= shortEpisode {
		small = shortBurst
	}
	began := time.Now()
	for n := 0; time.Since(began) < length && e.w.journal.violationCount() == 0; n++ {
		part := n % 5
		switch {
		case part == 2 && *only == "":
			e.runBurst(mixedBurst, s.drawBurst(e, mixedBurst))
		case part > 2 && *only == "":
			e.runBurst(small, s.drawBurst(e, small))
		default:
			e.runFault(s.drawKind(func(*faultKind) bool { return true }).newFault(e, s.rand))
		}
	}
}

// runFault injects one fault and measures the recovery.
func (e *episode) runFault(f *fault) {
	e.w.journal.note("begin %s", f)
	f.inject()
	if f.heal != nil {
		pause(f.hold)
		f.heal()
		e.w.journal.note("end   %s", f)
	}
	e.report.addFaults(f.kind, 1)
	e.report.addRecovery(f.kind, e.recover())
	e.restore(f)
}

// restore makes the fault possible again.
func (e *episode) restore(f *fault) {
	if f.restore != nil {
		f.restore()
		e.w.journal.note("restored after %s", f.kind)
	}
}

// runBurst injects faults that overlap.
func (e *episode) runBurst(b burst, list []timedFault) {
	e.w.journal.note("burst of %d faults", len(list))
	began := time.Now()
	for _, m := range moments(list) {
		pause(m.at - time.Since(began))
		e.w.journal.note("  %s", m.text)
		m.act()
	}
	for _, f := range list {
		e.report.addFaults(f.kind, 1)
	}
	e.report.addRecovery(b.name, e.recover())
	for _, f := range list {
		e.restore(f.fault)
	}
}

// recovery is how long the system takes after the end of a fault.
type recovery struct {
	Writes  time.Duration // until each core has done a write
	Clients time.Duration // until all clients have been shown these writes
	Ready   time.Duration // until all programs are ready
}

// recover waits until everything works again.
func (e *episode) recover() recovery {
	began := time.Now()
	var r recovery
	seqs := e.creditProbes(e.w.cores)
	r.Writes = time.Since(began)
	for i, account := range probeAccounts {
		for _, v := range e.viewers {
			e.w.waitUntil(fmt.Sprintf("%s has event %d of %s", v.name, seqs[i], account), func() bool {
				return v.seqOf(account) >= seqs[i]
			})
		}
	}
	r.Clients = time.Since(began)
	for _, p := range e.w.programs() {
		p.waitUntilReady()
	}
	r.Ready = time.Since(began)
	e.w.journal.note("      writes after %s, clients after %s, ready after %s",
		r.Writes.Round(time.Millisecond), r.Clients.Round(time.Millisecond), r.Ready.Round(time.Millisecond))
	return r
}

// creditProbes credits one account at each core and returns the seqs.
func (e *episode) creditProbes(cores []*program) []int64 {
	seqs := make([]int64, len(cores))
	for i, core := range cores {
		e.probes++
		key := fmt.Sprint(probePrefix, e.probes)
		e.w.waitUntil("a write is done by "+core.name, func() bool {
			seq, ok := e.load.credit(context.Background(), core, probeAccounts[i], key)
			seqs[i] = seq
			return ok
		})
	}
	return seqs
}

func isProbeKey(key string) bool { return strings.HasPrefix(key, probePrefix) }
