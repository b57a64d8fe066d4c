package consumer

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// OpenDeadLetters reads a group's dead letters in Redis, from any process. What it
// replays is taken by the processes of the group, within a second when they run.
func OpenDeadLetters(rdb redis.UniversalClient, keys bus.Keys, group string) bus.DeadLetters {
	return &redisLetters{rdb: rdb, keys: keys.WithDefaults(), group: group}
}

// ConsumerGroups lists the consumer groups of the streams, sorted.
func ConsumerGroups(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) ([]string, error) {
	keys = keys.WithDefaults()
	pipe := rdb.Pipeline()
	infos := make([]*redis.XInfoGroupsCmd, keys.Partitions)
	for p := range infos {
		infos[p] = pipe.XInfoGroups(ctx, keys.Stream(p))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var groups []string
	for _, info := range infos {
		list, err := info.Result()
		if err != nil && !strings.Contains(err.Error(), "no such key") {
			return nil, fmt.Errorf("list consumer groups: %w", err)
		}
		for _, g := range list {
			groups = append(groups, g.Name)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

type redisLetters struct {
	rdb   redis.UniversalClient
	keys  bus.Keys
	group string
}

// replayScript moves letters back to their group: KEYS are the dead letters and what
// the group takes back, ARGV the first and the last id and how many at most.
//
//go:embed replay.lua
var replayScriptSource string

var replayScript = redis.NewScript(replayScriptSource)

// letterID is group, partition and entry, joined by dots; a group may have dots itself.
func letterID(group string, partition int, entry string) string {
	return group + "." + strconv.Itoa(partition) + "." + entry
}

// LetterGroup is the group that a dead letter's id names; "": it is no such id.
func LetterGroup(id string) string {
	group, _, _, ok := parseLetterID(id)
	if !ok {
		return ""
	}
	return group
}

func parseLetterID(id string) (group string, partition int, entry string, ok bool) {
	rest, entry, _ := cutLast(id)
	group, number, found := cutLast(rest)
	partition, err := strconv.Atoi(number)
	_, isID := streamentry.ParseID([]byte(entry))
	return group, partition, entry, found && err == nil && isID && partition >= 0 && bus.ValidName(group, bus.MaxNameBytes)
}

func cutLast(s string) (before, after string, found bool) {
	at := strings.LastIndexByte(s, '.')
	if at < 0 {
		return "", s, false
	}
	return s[:at], s[at+1:], true
}

// parse returns where a letter is, if it is one of this group.
func (l *redisLetters) parse(id string) (partition int, entry string, err error) {
	group, partition, entry, ok := parseLetterID(id)
	if !ok || group != l.group || partition >= l.keys.Partitions {
		return 0, "", fmt.Errorf("dead letter %q of group %q: %w", id, l.group, bus.ErrNoDeadLetter)
	}
	return partition, entry, nil
}

// List implements DeadLetters.
func (l *redisLetters) List(ctx context.Context, after string, limit int) ([]bus.DeadLetter, error) {
	first, from := 0, "-"
	if after != "" {
		partition, entry, err := l.parse(after)
		if err != nil {
			return nil, err
		}
		first, from = partition, "("+entry
	}
	var letters []bus.DeadLetter
	for p := first; p < l.keys.Partitions && len(letters) < limit; p++ {
		entries, err := l.rdb.XRangeN(ctx, l.keys.Dead(p, l.group), from, "+", int64(limit-len(letters))).Result()
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		for _, e := range entries {
			letters = append(letters, l.letter(p, e))
		}
		from = "-"
	}
	return letters, nil
}

// Get implements DeadLetters.
func (l *redisLetters) Get(ctx context.Context, id string) (bus.DeadLetter, error) {
	partition, entry, err := l.parse(id)
	if err != nil {
		return bus.DeadLetter{}, err
	}
	entries, err := l.rdb.XRange(ctx, l.keys.Dead(partition, l.group), entry, entry).Result()
	if err != nil {
		return bus.DeadLetter{}, fmt.Errorf("get dead letter: %w", err)
	}
	if len(entries) == 0 {
		return bus.DeadLetter{}, fmt.Errorf("dead letter %q: %w", id, bus.ErrNoDeadLetter)
	}
	return l.letter(partition, entries[0]), nil
}

// letter reads one; what is no number or time counts as absent.
func (l *redisLetters) letter(partition int, m redis.XMessage) bus.DeadLetter {
	f := make(map[string]string, len(m.Values))
	for name, value := range m.Values {
		f[name], _ = value.(string)
	}
	d := bus.DeadLetter{ID: letterID(l.group, partition, m.ID), Group: l.group, Subscriber: f["subscriber"], Error: f["error"], Fields: f}
	d.Attempts, _ = strconv.Atoi(f["attempts"])
	d.FailedAt, _ = time.Parse(bus.TimeFormat, f["failedAt"])
	for _, added := range []string{"subscriber", "error", "attempts", "failedAt"} {
		delete(f, added)
	}
	d.Event = bus.Event{
		ID: f["id"], Type: f["type"], Account: f["account"], Key: f["key"], Reason: f["reason"], Feature: f["feature"],
		Seq: max(0, streamentry.ParseNumber([]byte(f["seq"]))), Amount: max(0, streamentry.ParseNumber([]byte(f["amount"]))), Data: []byte(f["data"]), TraceParent: f["traceparent"],
	}
	return d
}

// Replay implements DeadLetters.
func (l *redisLetters) Replay(ctx context.Context, id string) error {
	partition, entry, err := l.parse(id)
	if err != nil {
		return err
	}
	n, err := l.replay(ctx, partition, entry, entry, 1)
	if err == nil && n == 0 {
		err = fmt.Errorf("dead letter %q: %w", id, bus.ErrNoDeadLetter)
	}
	return err
}

// ReplayAll implements DeadLetters.
func (l *redisLetters) ReplayAll(ctx context.Context) (int, error) {
	const some = 100 // in one call, so that Redis serves others in between
	total := 0
	for p := range l.keys.Partitions {
		// Those that fail again come after the last one that there is now.
		last, err := l.rdb.XRevRangeN(ctx, l.keys.Dead(p, l.group), "+", "-", 1).Result()
		if err != nil {
			return total, fmt.Errorf("replay dead letters: %w", err)
		}
		for len(last) > 0 {
			n, err := l.replay(ctx, p, "-", last[0].ID, some)
			if total += n; err != nil {
				return total, err
			}
			if n < some {
				break
			}
		}
	}
	return total, nil
}

func (l *redisLetters) replay(ctx context.Context, partition int, from, to string, most int) (int, error) {
	keys := []string{l.keys.Dead(partition, l.group), l.keys.Replay(partition, l.group)}
	n, err := replayScript.Run(ctx, l.rdb, keys, from, to, most).Int()
	if err != nil {
		return 0, fmt.Errorf("replay dead letters: %w", err)
	}
	return n, nil
}
