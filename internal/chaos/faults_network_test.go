package chaos

import (
	"math/rand/v2"
	"strings"
	"time"
)

// networkFaults are the faults of the connections between the parts. A link is one proxy.
func networkFaults() []*faultKind {
	const ms = time.Millisecond
	return []*faultKind{
		{name: "cut connections", isSmall: true, plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			return fault{target: l.name, inject: l.proxy.Cut}
		}},
		{name: "stall a link briefly", isSmall: true, minHold: 20 * ms, maxHold: 300 * ms, plan: func(e *episode, r *rand.Rand) fault {
			return stallFault(e.pickLink(r))
		}},
		{name: "stall replies briefly, then cut", isSmall: true, minHold: 20 * ms, maxHold: 300 * ms, plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			heal := func() {
				l.proxy.Cut()
				l.proxy.Resume()
			}
			return fault{target: l.name, inject: l.proxy.PauseReplies, heal: heal}
		}},
		{name: "slow link", isSmall: true, minHold: 100 * ms, maxHold: 500 * ms, plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			delay := time.Duration(1+r.IntN(50)) * ms
			return fault{target: l.name, inject: func() { l.proxy.Delay(delay) }, heal: func() { l.proxy.Delay(0) }}
		}},
		{name: "refuse connections briefly", isSmall: true, minHold: 20 * ms, maxHold: 300 * ms, plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			return refuseFault(l.name, l)
		}},
		{name: "stall a link", minHold: 500 * ms, maxHold: 4000 * ms, plan: func(e *episode, r *rand.Rand) fault {
			return stallFault(e.pickLink(r))
		}},
		{name: "silent connections", plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			return fault{target: l.name, inject: l.proxy.SilenceLinks}
		}},
		{name: "partition a link", minHold: 500 * ms, maxHold: 4000 * ms, plan: func(e *episode, r *rand.Rand) fault {
			l := e.pickLink(r)
			return partitionFault(l.name, l)
		}},
		{name: "partition a program", minHold: 500 * ms, maxHold: 4000 * ms, plan: func(e *episode, r *rand.Rand) fault {
			p := pickProgram(r, e.w.programs())
			return partitionFault("links of "+p.name, e.w.linksOf(p.name)...)
		}},
		{name: "partition the databases", minHold: 500 * ms, maxHold: 4000 * ms, plan: func(e *episode, r *rand.Rand) fault {
			name := []string{"postgres", "redis"}[r.IntN(2)]
			return partitionFault("links of "+name, e.w.linksOf(name)...)
		}},
	}
}

// longFaults last longer than a program may say ready while it serves nothing.
func longFaults() []*faultKind {
	const hold = readyGrace + 5*time.Second
	return []*faultKind{
		{name: "cut Postgres off for 25 s", minHold: hold, plan: func(e *episode, _ *rand.Rand) fault {
			return partitionFault("links of postgres", e.w.linksOf("to postgres")...)
		}},
		{name: "suspend Postgres for 25 s", minHold: hold, plan: func(e *episode, _ *rand.Rand) fault {
			d := e.w.database
			return fault{target: "postgres", inject: func() { d.primary.Suspend() }, heal: func() { d.primary.Continue() }}
		}},
		{name: "cut Redis off for 25 s", minHold: hold, plan: func(e *episode, _ *rand.Rand) fault {
			return partitionFault("links of redis", e.w.linksOf("to redis")...)
		}},
	}
}

func (e *episode) pickLink(r *rand.Rand) *link { return e.w.links[r.IntN(len(e.w.links))] }

func stallFault(l *link) fault {
	inject := func() {
		l.proxy.PauseRequests()
		l.proxy.PauseReplies()
	}
	return fault{target: l.name, inject: inject, heal: l.proxy.Resume}
}

// refuseFault cuts the connections and refuses new ones.
func refuseFault(target string, links ...*link) fault {
	inject := func() {
		for _, l := range links {
			l.proxy.Refuse(true)
			l.proxy.Cut()
		}
	}
	heal := func() {
		for _, l := range links {
			l.proxy.Refuse(false)
		}
	}
	return fault{target: target, inject: inject, heal: heal}
}

// partitionFault makes the present connections silent for ever, and refuses new ones for a time.
func partitionFault(target string, links ...*link) fault {
	f := refuseFault(target, links...)
	f.inject = func() {
		for _, l := range links {
			l.proxy.SilenceLinks()
			l.proxy.Refuse(true)
		}
	}
	return f
}

// linksOf returns the links whose name contains a text.
func (w *world) linksOf(text string) []*link {
	var list []*link
	for _, l := range w.links {
		if strings.Contains(l.name, text) {
			list = append(list, l)
		}
	}
	return list
}
