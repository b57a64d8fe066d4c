package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

type deadLettersCmd struct {
	List   deadListCmd   `cmd:"" help:"List dead letters, the oldest of each partition first."`
	Show   deadShowCmd   `cmd:"" help:"Print one as JSON, with its event and the whole error."`
	Replay deadReplayCmd `cmd:"" help:"Have the events of dead letters handled again."`
}

// Help tells what they are.
func (deadLettersCmd) Help() string {
	return "An event that a subscription failed to handle, after all its attempts, becomes a dead letter of that subscription's consumer group. " +
		"When what was wrong is mended:\n\n" +
		"  core dead-letters list --group activity-feed\n" +
		"  core dead-letters replay --group activity-feed --all\n\n" +
		"Only the subscription that failed handles a replayed event. Its own id is kept, so whoever drops repeats by event id still does."
}

// openRedis makes a client and the keys. With another layout than that of Redis there
// would seem to be no dead letters.
func openRedis(ctx context.Context, f cli.RedisFlags) (redis.UniversalClient, bus.Keys, error) {
	keys, err := f.Keys()
	if err != nil {
		return nil, bus.Keys{}, err
	}
	rdb, err := f.Open()
	if err != nil {
		return nil, bus.Keys{}, err
	}
	if err := redisconn.CompareLayout(ctx, rdb, keys); err != nil {
		return nil, bus.Keys{}, errors.Join(err, rdb.Close())
	}
	return rdb, keys, nil
}

type deadListCmd struct {
	cli.RedisFlags
	Group string `placeholder:"GROUP" help:"Consumer group. Absent: all."`
	After string `placeholder:"ID" help:"Only those after this one: the last of the page before."`
	Limit int    `default:"100" help:"How many at most, 1 to 1000."`
	JSON  bool   `name:"json" help:"Print them as JSON Lines."`
}

// Run lists.
func (c deadListCmd) Run(env *cli.Env) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return cli.Usage("--limit", "%d is not from 1 to 1000", c.Limit)
	}
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	letters, err := coreadmin.ListDeadLetters(env.Context, rdb, keys, c.Group, c.After, c.Limit)
	if errors.Is(err, coreadmin.ErrUnknownLetter) {
		return cli.Usage("--after", "%q is no dead letter's id of this group", c.After)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		for i := range letters {
			if err := enc.Encode(&letters[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return printLetters(env.Stdout, letters)
}

func printLetters(w io.Writer, letters []coreadmin.DeadLetter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) // Flush reports what fails
	_, _ = fmt.Fprint(p, "ID\tFAILED AT\tSUBSCRIBER\tTYPE\tACCOUNT\tATTEMPTS\tERROR\n")
	for i := range letters {
		l := &letters[i]
		first, _, _ := strings.Cut(l.Error, "\n")
		_, _ = fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\t%d\t%.100s\n", l.ID, l.FailedAt, l.Subscriber, l.EventType, l.Account, l.Attempts, first)
	}
	return p.Flush()
}

type deadShowCmd struct {
	cli.RedisFlags
	ID string `arg:"" help:"The dead letter, as list prints it."`
}

// Run prints one.
func (c deadShowCmd) Run(env *cli.Env) error {
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	l, err := consumer.OpenDeadLetters(rdb, keys, consumer.LetterGroup(c.ID)).Get(env.Context, c.ID)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(env.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(coreadmin.NewDeadLetter(&l))
}

type deadReplayCmd struct {
	cli.RedisFlags
	ID    []string `arg:"" optional:"" help:"The dead letters, as list prints them."`
	Group string   `placeholder:"GROUP" help:"Consumer group whose dead letters are all replayed, with --all."`
	All   bool     `help:"Replay all of --group."`
}

// Run replays.
func (c deadReplayCmd) Run(env *cli.Env) error {
	switch {
	case c.All && (c.Group == "" || len(c.ID) > 0):
		return cli.Usage("--all", "it needs --group and no ids")
	case !c.All && len(c.ID) == 0:
		return cli.Usage("", "give the ids of dead letters, or --group and --all")
	}
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	n, err := c.replay(env.Context, rdb, keys)
	_, _ = fmt.Fprintf(env.Stdout, "replayed %s\n", plural(int64(n), "dead letter"))
	return err
}

func (c deadReplayCmd) replay(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) (int, error) {
	if c.All {
		return consumer.OpenDeadLetters(rdb, keys, c.Group).ReplayAll(ctx)
	}
	for i, id := range c.ID {
		if err := consumer.OpenDeadLetters(rdb, keys, consumer.LetterGroup(id)).Replay(ctx, id); err != nil {
			return i, err
		}
	}
	return len(c.ID), nil
}
