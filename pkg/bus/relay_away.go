package bus

import (
	"errors"
	"maps"
)

// Redis may be away in part: one master of a cluster is, or the key of one stream
// holds something else. Partitions that give no answer are away then. Their events wait in
// the outbox for the sweep, which tries them again in each pass; others go on.

// awayError says which partitions gave no answer.
type awayError struct {
	partitions map[int]bool
	err        error
}

func (e *awayError) Error() string { return e.err.Error() }
func (e *awayError) Unwrap() error { return e.err }

// noAnswer notes partitions that gave none. When that are all, Redis is down. So it is
// if there is one server for all of them and no call was answered (some).
func (r *Relay) noAnswer(partitions map[int]bool, some bool, err error) error {
	if !some && !r.pub.apart.Load() {
		for i := range r.pub.cfg.Keys.Partitions {
			partitions[i] = true
		}
	}
	r.mu.Lock()
	if r.away == nil {
		r.away = make(map[int]bool)
	}
	maps.Copy(r.away, partitions)
	down := len(r.away) == r.pub.cfg.Keys.Partitions
	if down {
		r.away = nil
	}
	r.mu.Unlock()
	if down {
		r.redisFailed(err)
	} else {
		r.complain.Do(func() {
			r.cfg.Logger.Error("publishing fails for some partitions; their events wait in the outbox until Redis takes them", "error", err)
		})
		signal(r.urgent)
	}
	return &awayError{partitions: partitions, err: err}
}

// noteAnswers has the fast way take partitions again that have answered, and leave
// out those that have not.
func (r *Relay) noteAnswers(pubs []Publication, outcomes []Outcome, err error) error {
	unknown, some := map[int]bool{}, errors.Is(err, errNoStream)
	r.mu.Lock()
	for i, o := range outcomes {
		partition := r.pub.cfg.Keys.Partition(pubs[i].Group.Account)
		switch o.Status {
		case Unknown:
			unknown[partition] = true
		case Unwritable: // Redis was not asked, perhaps
		default:
			some = true
			delete(r.away, partition)
		}
	}
	r.mu.Unlock()
	if err == nil {
		return nil
	}
	return r.noAnswer(unknown, some, err)
}

// partitionsAway lists the partitions that the fast way leaves to the sweep; mostly nil.
func (r *Relay) partitionsAway() map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.away) == 0 {
		return nil
	}
	return maps.Clone(r.away)
}

// noneAway has the fast way take all partitions again.
func (r *Relay) noneAway() {
	r.mu.Lock()
	r.away = nil
	r.mu.Unlock()
}

// leavesOut tells whether a group's partition is among those.
func (r *Relay) leavesOut(partitions map[int]bool, g *Group) bool {
	return len(partitions) > 0 && partitions[r.pub.cfg.Keys.Partition(g.Account)]
}
