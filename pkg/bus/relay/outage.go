package relay

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// Redis may fail in part: one master of a cluster does not answer, or the key of one stream holds
// another type. The partitions that do not answer are unavailable. Their events wait in the outbox.
// The sweep retries them in each pass, and the events of other partitions are published.

// unavailableError names the partitions that did not answer.
type unavailableError struct {
	partitions map[int]bool
	err        error
}

func (e *unavailableError) Error() string { return e.err.Error() }
func (e *unavailableError) Unwrap() error { return e.err }

// markUnavailable records the partitions that did not answer. If none answered, Redis is down.
// Without a cluster one server holds all partitions: Redis is down unless anyAnswered is true.
func (r *Relay) markUnavailable(partitions map[int]bool, anyAnswered bool, err error) error {
	if !anyAnswered && !r.pub.IsCluster() {
		for i := range r.keys.Partitions {
			partitions[i] = true
		}
	}

	r.mu.Lock()
	if r.unavailable == nil {
		r.unavailable = make(map[int]bool)
	}

	maps.Copy(r.unavailable, partitions)
	for partition := range partitions {
		r.setFailingLocked(partition, true)
	}

	down := len(r.unavailable) == r.keys.Partitions
	if down {
		r.unavailable = nil
	}

	r.mu.Unlock()

	if down {
		r.handleRedisDown(err)
	} else {
		r.logOutage("publishing to some partitions failed; retrying, their events wait in the outbox", err)
		sendToken(r.sweepNow)
	}

	return &unavailableError{partitions: partitions, err: err}
}

// logOutage logs that partitions cannot be written. setFailingLocked logs the end of it.
func (r *Relay) logOutage(text string, err error) {
	r.logLimit.Do(func() {
		r.mu.Lock()
		r.isOutageLogged = true
		r.mu.Unlock()
		r.cfg.Logger.Error(text, "error", err)
	})
}

// recordAvailability marks partitions as available when they answered, and as unavailable when they
// did not.
func (r *Relay) recordAvailability(pubs []publish.Publication, outcomes []publish.Outcome, err error) error {
	unanswered := map[int]bool{}
	anyAnswered := errors.Is(err, publish.ErrNoStream)

	r.mu.Lock()
	for i, o := range outcomes {
		partition := r.keys.Partition(pubs[i].Update.Account)
		switch o.Status {
		case bus.Unknown:
			unanswered[partition] = true
		case bus.Unwritable: // the publisher may have answered without asking Redis
		default:
			anyAnswered = true
			delete(r.unavailable, partition)
			r.setFailingLocked(partition, false)
		}
	}

	r.mu.Unlock()

	if err == nil {
		return nil
	}

	return r.markUnavailable(unanswered, anyAnswered, err)
}

// unavailablePartitions returns the partitions that are left to the sweep, or nil if there are
// none.
func (r *Relay) unavailablePartitions() map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	if len(r.unavailable) == 0 {
		return nil
	}

	return maps.Clone(r.unavailable)
}

// clearUnavailable marks all partitions as available.
func (r *Relay) clearUnavailable() {
	r.mu.Lock()
	r.unavailable = nil
	r.mu.Unlock()
}

// setFailing records whether the last write to a partition failed.
func (r *Relay) setFailing(partition int, fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setFailingLocked(partition, fails)
}

func (r *Relay) setFailingLocked(partition int, fails bool) {
	if fails {
		r.failing[partition] = true
	} else {
		delete(r.failing, partition)
	}

	if len(r.failing) == 0 && r.isOutageLogged {
		r.isOutageLogged = false
		r.cfg.Logger.Info("all partitions are written again")
	}

	r.metrics.partitionsFailing.Set(float64(len(r.failing)))
	r.metrics.partitionsWritable.Set(float64(r.keys.Partitions - len(r.failing)))
}

// CheckPartitions returns an error that names the partitions whose last write failed. Their events
// wait in the outbox. The relay writes to each partition at least every Config.Check.
func (r *Relay) CheckPartitions() error {
	r.mu.Lock()
	failing := slices.Collect(maps.Keys(r.failing))
	r.mu.Unlock()

	if len(failing) == 0 {
		return nil
	}

	return fmt.Errorf("%d of %d partitions cannot be written, and their events wait in the outbox: %s",
		len(failing), r.keys.Partitions, bus.FormatPartitions(failing))
}

// isInPartitions reports whether the update belongs to one of the partitions.
func (r *Relay) isInPartitions(u *bus.AccountUpdate, partitions map[int]bool) bool {
	return len(partitions) > 0 && partitions[r.keys.Partition(u.Account)]
}
