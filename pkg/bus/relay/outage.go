package relay

import (
	"errors"
	"maps"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
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

// markUnavailable notes partitions that gave none. When that are all, Redis is down. So it is
// if there is one server for all of them and no call was answered (some).
func (r *Relay) markUnavailable(partitions map[int]bool, some bool, err error) error {
	if !some && !r.pub.PartitionsApart() {
		for i := range r.keys.Partitions {
			partitions[i] = true
		}
	}
	r.mu.Lock()
	if r.away == nil {
		r.away = make(map[int]bool)
	}
	maps.Copy(r.away, partitions)
	down := len(r.away) == r.keys.Partitions
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

// recordAnswers has the fast way take partitions again that have answered, and leave
// out those that have not.
func (r *Relay) recordAnswers(pubs []publish.Publication, outcomes []publish.Outcome, err error) error {
	unknown, some := map[int]bool{}, errors.Is(err, publish.ErrNoStream)
	r.mu.Lock()
	for i, o := range outcomes {
		partition := r.keys.Partition(pubs[i].Update.Account)
		switch o.Status {
		case bus.Unknown:
			unknown[partition] = true
		case bus.Unwritable: // Redis was not asked, perhaps
		default:
			some = true
			delete(r.away, partition)
		}
	}
	r.mu.Unlock()
	if err == nil {
		return nil
	}
	return r.markUnavailable(unknown, some, err)
}

// unavailablePartitions lists the partitions that the fast way leaves to the sweep; mostly nil.
func (r *Relay) unavailablePartitions() map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.away) == 0 {
		return nil
	}
	return maps.Clone(r.away)
}

// clearOutages has the fast way take all partitions again.
func (r *Relay) clearOutages() {
	r.mu.Lock()
	r.away = nil
	r.mu.Unlock()
}

// skips tells whether a group's partition is among those.
func (r *Relay) skips(partitions map[int]bool, g *bus.AccountUpdate) bool {
	return len(partitions) > 0 && partitions[r.keys.Partition(g.Account)]
}
