package tail

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// checkTimeout bounds a check, including the retries of go-redis. If a node of a cluster hangs, the
// next check goes to the one that has taken its place.
const checkTimeout = 2 * time.Second

// checkStreams checks that the positions still belong to the server and its streams. A stream that
// does not exist any more is read from its start. If a stream ends before its position, or if the
// server has another run id, the streams may have lost entries. The relay adds lost entries again,
// and their new ids may be below the position, so reading starts again some minutes earlier.
func (r *reader) checkStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()

	server, err := redisconn.ClientFor(ctx, r.t.rdb, r.positions[0].stream)
	if err != nil {
		return err
	}

	serverID, err := redisconn.ParseRunID(server.Info(ctx, "server"))
	if err != nil {
		return err
	}

	pipe := r.t.rdb.Pipeline() // on a cluster, this client follows redirections
	endCmds := make([]*redis.XMessageSliceCmd, len(r.positions))

	for i := range r.positions {
		endCmds[i] = pipe.XRevRangeN(ctx, r.positions[i].stream, "+", "-", 1)
	}

	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, cmd := range endCmds {
		err := cmd.Err()
		if err != nil {
			return err
		}
	}

	serverChanged := serverID != "" && r.serverID != "" && serverID != r.serverID
	rewind := uint64((r.t.cfg.Rewind + time.Since(r.lastGood)).Milliseconds()) //nolint:gosec // positive
	isOther := false

	for i := range r.positions {
		end, err := redisconn.FirstID(endCmds[i].Val())
		if err != nil {
			return err
		}

		if r.rewindPosition(&r.positions[i], end, serverChanged, rewind) {
			isOther = true
		}
	}

	if serverID != "" {
		r.serverID = serverID
	}

	mayHaveLost := r.checkNow || isOther
	r.lastCheck = time.Now()
	r.checkNow = false
	if mayHaveLost && r.t.cfg.Lost != nil {
		r.t.cfg.Lost(isOther)
	}

	return nil
}

// rewindPosition moves a position back if it is not valid any more, and reports whether it did. end
// is the stream's last entry, and rewind is in milliseconds.
func (r *reader) rewindPosition(p *position, end streamentry.ID, serverChanged bool, rewind uint64) bool {
	from := p.id
	zero := streamentry.ID{}
	var reason string

	switch {
	case p.id == zero:
		return false
	case end == zero:
		reason = "vanished"
		p.id = zero
	case end.Less(p.id):
		reason = "went_back"
		p.id = end.MinusMillis(rewind)
	case serverChanged:
		reason = "server_changed"
		p.id = p.id.MinusMillis(rewind)
	default:
		return false
	}

	r.t.metrics.resets.WithLabelValues(reason).Inc()
	r.t.cfg.Logger.Warn("reading a stream again from an earlier position", "partition", p.partition, "reason", reason,
		"from", from.String(), "to", p.id.String(), "entry", end.String())
	return true
}

// detectTrimming detects entries that were trimmed before a late read. A read may be late if it
// stalled or if it returned as many entries as it may. Redis trims the oldest entries first. So if
// the stream's oldest entry is newer than the position, entries may be missing. An account without
// further events would not show the hole.
func (r *reader) detectTrimming(ctx context.Context, stalled bool) {
	var late []*position
	for i := range r.positions {
		p := &r.positions[i]
		isLate := stalled || p.found >= r.t.cfg.Count
		if isLate && p.id != (streamentry.ID{}) {
			late = append(late, p)
		}
	}

	if len(late) == 0 {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()

	pipe := r.t.rdb.Pipeline()
	startCmds := make([]*redis.XMessageSliceCmd, len(late))
	for i, p := range late {
		startCmds[i] = pipe.XRangeN(ctx, p.stream, "-", "+", 1)
	}

	_, _ = pipe.Exec(ctx) // each command has its own error
	mayBeTrimmed := false

	for i, p := range late {
		first, err := redisconn.FirstID(startCmds[i].Val())
		if startCmds[i].Err() != nil || err != nil {
			mayBeTrimmed = true // nothing rules it out
			continue
		}

		if !p.id.Less(first) {
			continue
		}

		mayBeTrimmed = true
		r.t.metrics.trimmed.Inc()
		r.t.cfg.Logger.Warn("entries may have been trimmed before they were read", "partition", p.partition,
			"from", p.id.String(), "entry", first.String())
	}

	if mayBeTrimmed && r.t.cfg.Lost != nil {
		r.t.cfg.Lost(true)
	}
}
