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

// OpenDeadLetters returns a group's dead letters in Redis, from any process. Running processes of
// the group handle a replayed letter within a second.
func OpenDeadLetters(rdb redis.UniversalClient, keys bus.Keys, group string) bus.DeadLetters {
	return &redisDeadLetters{rdb: rdb, keys: keys.WithDefaults(), group: group}
}

// Groups returns the names of the consumer groups of the streams, sorted.
func Groups(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) ([]string, error) {
	keys = keys.WithDefaults()
	pipe := rdb.Pipeline()
	cmds := make([]*redis.XInfoGroupsCmd, keys.Partitions)

	for p := range cmds {
		cmds[p] = pipe.XInfoGroups(ctx, keys.Stream(p))
	}

	_, _ = pipe.Exec(ctx) // each command has its own error

	var names []string
	for _, cmd := range cmds {
		groups, err := cmd.Result()
		if err != nil && !strings.Contains(err.Error(), "no such key") {
			return nil, fmt.Errorf("list consumer groups: %w", err)
		}

		for _, group := range groups {
			names = append(names, group.Name)
		}
	}

	slices.Sort(names)
	return slices.Compact(names), nil
}

type redisDeadLetters struct {
	rdb   redis.UniversalClient
	keys  bus.Keys
	group string
}

// replayScriptSource moves dead letters to the group's replay stream. KEYS are the two streams,
// ARGV the first and the last id and the largest number of letters.
//
//go:embed replay.lua
var replayScriptSource string

var replayScript = redis.NewScript(replayScriptSource)

// letterID joins group, partition and entry by dots. The group may contain dots itself.
func letterID(group string, partition int, entry string) string {
	return group + "." + strconv.Itoa(partition) + "." + entry
}

// LetterGroup returns the group in a dead letter's id, or "" if the id is invalid.
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
	if !found || !bus.ValidName(group, bus.MaxNameBytes) {
		return "", 0, "", false
	}

	partition, err := strconv.Atoi(number)
	if err != nil || partition < 0 {
		return "", 0, "", false
	}

	_, ok = streamentry.ParseID([]byte(entry))
	return group, partition, entry, ok
}

// cutLast cuts s around its last dot.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// locateLetter returns the partition and the entry of a letter of this group.
func (l *redisDeadLetters) locateLetter(id string) (partition int, entry string, err error) {
	group, partition, entry, ok := parseLetterID(id)
	if !ok {
		return 0, "", fmt.Errorf("dead letter %q: %w; an id is GROUP.PARTITION.ENTRY, as the list shows it", id, bus.ErrNoDeadLetter)
	}
	if group != l.group || partition >= l.keys.Partitions {
		return 0, "", fmt.Errorf("dead letter %q of group %q: %w", id, l.group, bus.ErrNoDeadLetter)
	}
	return partition, entry, nil
}

// List implements DeadLetters.
func (l *redisDeadLetters) List(ctx context.Context, after string, limit int) ([]bus.DeadLetter, error) {
	first := 0
	from := "-"
	if after != "" {
		partition, entry, err := l.locateLetter(after)
		if err != nil {
			return nil, err
		}

		first = partition
		from = "(" + entry
	}

	var letters []bus.DeadLetter
	for p := first; p < l.keys.Partitions && len(letters) < limit; p++ {
		entries, err := l.rdb.XRangeN(ctx, l.keys.Dead(p, l.group), from, "+", int64(limit-len(letters))).Result()
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}

		for _, entry := range entries {
			letters = append(letters, l.decodeLetter(p, entry))
		}

		from = "-"
	}

	return letters, nil
}

// Get implements DeadLetters.
func (l *redisDeadLetters) Get(ctx context.Context, id string) (bus.DeadLetter, error) {
	partition, entry, err := l.locateLetter(id)
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

	return l.decodeLetter(partition, entries[0]), nil
}

// decodeLetter decodes a stream entry. A number or a time that is invalid counts as absent.
func (l *redisDeadLetters) decodeLetter(partition int, message redis.XMessage) bus.DeadLetter {
	fields := make(map[string]string, len(message.Values))
	for name, value := range message.Values {
		fields[name], _ = value.(string)
	}

	letter := bus.DeadLetter{
		ID:         letterID(l.group, partition, message.ID),
		Group:      l.group,
		Subscriber: fields["subscriber"],
		Error:      fields["error"],
		Fields:     fields,
		Event:      decodeLetterEvent(fields),
	}

	letter.Attempts, _ = strconv.Atoi(fields["attempts"])
	letter.FailedAt, _ = time.Parse(bus.TimeFormat, fields["failedAt"])
	for _, name := range letterFields {
		delete(fields, name)
	}

	return letter
}

func decodeLetterEvent(fields map[string]string) bus.Event {
	chain, _ := bus.ParseChain(fields["chain"]) // 0: another producer's event
	return bus.Event{
		ID:          fields["id"],
		Type:        fields["type"],
		Account:     fields["account"],
		Seq:         max(0, streamentry.ParseNumber([]byte(fields["seq"]))),
		Chain:       chain,
		Key:         fields["key"],
		Amount:      max(0, streamentry.ParseNumber([]byte(fields["amount"]))),
		Reason:      fields["reason"],
		Feature:     fields["feature"],
		TraceParent: fields["traceparent"],
		Data:        []byte(fields["data"]),
	}
}

// Replay implements DeadLetters.
func (l *redisDeadLetters) Replay(ctx context.Context, id string) error {
	partition, entry, err := l.locateLetter(id)
	if err != nil {
		return err
	}

	n, err := l.replayRange(ctx, partition, entry, entry, 1)
	if err == nil && n == 0 {
		err = fmt.Errorf("dead letter %q: %w", id, bus.ErrNoDeadLetter)
	}

	return err
}

// ReplayAll implements DeadLetters.
func (l *redisDeadLetters) ReplayAll(ctx context.Context) (int, error) {
	const chunk = 100 // letters in one call, so that Redis can serve other clients in between
	total := 0
	for p := range l.keys.Partitions {
		// Letters that fail again are added after the last one that exists now.
		last, err := l.rdb.XRevRangeN(ctx, l.keys.Dead(p, l.group), "+", "-", 1).Result()
		if err != nil {
			return total, fmt.Errorf("replay dead letters: %w", err)
		}

		for len(last) > 0 {
			n, err := l.replayRange(ctx, p, "-", last[0].ID, chunk)
			total += n
			if err != nil {
				return total, err
			}

			if n < chunk {
				break
			}
		}
	}

	return total, nil
}

// replayRange replays at most limit letters from one id to another. It returns how many it
// replayed.
func (l *redisDeadLetters) replayRange(ctx context.Context, partition int, from, to string, limit int) (int, error) {
	keys := []string{l.keys.Dead(partition, l.group), l.keys.Replay(partition, l.group)}
	n, err := replayScript.Run(ctx, l.rdb, keys, from, to, limit).Int()
	if err != nil {
		return 0, fmt.Errorf("replay dead letters: %w", err)
	}

	return n, nil
}
