package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// schedule draws the faults of an episode. The seed fixes them, their order and their durations.
type schedule struct {
	rand  *rand.Rand
	kinds []*faultKind
	deck  []*faultKind // kinds that have not had their turn yet
}

// burst says how many faults overlap, and for how long.
type burst struct {
	name   string
	length time.Duration
	large  int
	small  int
}

var (
	mixedBurst = burst{name: "burst: 3 faults and 10 small ones in 3 s", length: 3 * time.Second, large: 3, small: 10}
	smallBurst = burst{name: "burst: 200 small faults in 4 s", length: 4 * time.Second, small: 200}
	shortBurst = burst{name: "burst: 40 small faults in 2 s", length: 2 * time.Second, small: 40}
)

func newSchedule(seed uint64, kinds []*faultKind) *schedule {
	return &schedule{rand: rand.New(rand.NewPCG(seed, 0)), kinds: kinds}
}

// drawKind deals the kinds like cards, so that each of them has its turn.
func (s *schedule) drawKind(isWanted func(*faultKind) bool) *faultKind {
	for {
		i := slices.IndexFunc(s.deck, isWanted)
		if i >= 0 {
			kind := s.deck[i]
			s.deck = slices.Delete(s.deck, i, i+1)
			return kind
		}
		more := slices.Clone(s.kinds)
		s.rand.Shuffle(len(more), func(a, b int) { more[a], more[b] = more[b], more[a] })
		s.deck = append(s.deck, more...)
	}
}

// timedFault is a fault of a burst.
type timedFault struct {
	at time.Duration // since the beginning of the burst
	*fault
}

// drawBurst draws faults that overlap. Those of one target follow each other.
func (s *schedule) drawBurst(e *episode, b burst) []timedFault {
	var list []timedFault
	busy := map[string]time.Duration{} // by target, until when
	needsRestore := false
	add := func(kind *faultKind) {
		f := timedFault{time.Duration(s.rand.Int64N(int64(b.length))), kind.newFault(e, s.rand)}
		if f.restore != nil && needsRestore {
			return
		}
		needsRestore = needsRestore || f.restore != nil
		until, found := busy[f.target]
		if found {
			f.at = max(f.at, until)
		}
		busy[f.target] = f.at + f.hold + time.Millisecond
		list = append(list, f)
	}
	for range b.large {
		add(s.drawKind(func(k *faultKind) bool { return !k.isSmall }))
	}
	for range b.small {
		add(s.drawKind(func(k *faultKind) bool { return k.isSmall }))
	}
	slices.SortStableFunc(list, func(a, b timedFault) int { return cmp.Compare(a.at, b.at) })
	return list
}

// moment is the begin or the end of a fault of a burst.
type moment struct {
	at   time.Duration
	text string
	act  func()
}

// moments returns what to do in a burst, in order.
func moments(list []timedFault) []moment {
	var all []moment
	for _, f := range list {
		all = append(all, moment{f.at, "begin " + f.String(), f.inject})
		if f.heal != nil {
			all = append(all, moment{f.at + f.hold, "end   " + f.String(), f.heal})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}
