package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

type deadLettersCmd struct {
	List   deadListCmd   `cmd:"" help:"List dead letters, the oldest of each partition first."`
	Show   deadShowCmd   `cmd:"" help:"Print one dead letter as JSON, with its event and the whole error."`
	Replay deadReplayCmd `cmd:"" help:"Deliver the events of dead letters again."`
}

// Help explains dead letters, with examples.
func (deadLettersCmd) Help() string {
	return "When a subscription fails to handle an event in all its attempts, the event becomes a dead letter of the subscription's consumer group. " +
		"After the cause is fixed, replay it:\n\n" +
		"  core dead-letters list --group activity-feed\n" +
		"  core dead-letters replay --group activity-feed --all\n\n" +
		"A replayed event goes only to the subscription that failed. It keeps its event id, so handlers that ignore duplicate ids still do."
}

// openRedis returns a client and the keys. It refuses a layout other than that of Redis, under which
// there would seem to be no dead letters.
func openRedis(ctx context.Context, f cli.RedisFlags) (redis.UniversalClient, bus.Keys, error) {
	keys, err := f.Keys()
	if err != nil {
		return nil, bus.Keys{}, err
	}
	rdb, err := f.Open()
	if err != nil {
		return nil, bus.Keys{}, err
	}
	err = redisconn.CompareLayout(ctx, rdb, keys)
	if err != nil {
		return nil, bus.Keys{}, errors.Join(err, rdb.Close())
	}
	return rdb, keys, nil
}

type deadListCmd struct {
	cli.RedisFlags
	Group string `placeholder:"GROUP" help:"Consumer group. Default: all groups." once:""`
	After string `placeholder:"ID" help:"Last id of the previous page. Only later dead letters are listed." once:""`
	Limit int    `default:"100" help:"Largest number to list, from 1 to 1000." once:""`
	JSON  bool   `name:"json" help:"Print JSON Lines." once:""`
}

// Run lists dead letters.
func (c deadListCmd) Run(env *cli.Env) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return cli.Usage("--limit", "must be from 1 to 1000, got %d", c.Limit)
	}
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	letters, err := coreadmin.ListDeadLetters(env.Context, rdb, keys, c.Group, c.After, c.Limit)
	if errors.Is(err, coreadmin.ErrUnknownLetter) {
		return cli.Usage("--after", "must be the id of a dead letter of this group, got %q", c.After)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printLettersJSON(env.Stdout, letters)
	}
	return printLetters(env.Stdout, letters)
}

func printLettersJSON(w io.Writer, letters []coreadmin.DeadLetter) error {
	for i := range letters {
		err := printEscaped(w, &letters[i], "")
		if err != nil {
			return err
		}
	}
	return nil
}

func printLetters(w io.Writer, letters []coreadmin.DeadLetter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	p := newTable(w) // Flush returns the error of any write
	_, _ = fmt.Fprint(p, "ID\tFAILED AT\tSUBSCRIBER\tTYPE\tACCOUNT\tATTEMPTS\tERROR\n")
	for i := range letters {
		l := &letters[i]
		firstLine, _, _ := strings.Cut(l.Error, "\n")
		_, _ = fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\t%d\t%.100s\n",
			bus.EscapeControls(l.ID), bus.EscapeControls(l.FailedAt), bus.EscapeControls(l.Subscriber),
			bus.EscapeControls(l.EventType), bus.EscapeControls(l.Account), l.Attempts, bus.EscapeControls(firstLine))
	}
	return p.Flush()
}

type deadShowCmd struct {
	cli.RedisFlags
	ID string `arg:"" help:"Id of the dead letter, as printed by list."`
}

// Help explains the exit codes.
func (deadShowCmd) Help() string {
	return "Exit codes: 0, printed; 1, there is no such dead letter; 2, wrong usage, or Redis could not be read."
}

// Run prints one dead letter.
func (c deadShowCmd) Run(env *cli.Env) error {
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return cli.Unable(err)
	}
	defer func() { _ = rdb.Close() }()
	l, err := consumer.OpenDeadLetters(rdb, keys, consumer.LetterGroup(c.ID)).Get(env.Context, c.ID)
	switch {
	case errors.Is(err, bus.ErrNoDeadLetter):
		return err
	case err != nil:
		return cli.Unable(err)
	}
	return printJSON(env.Stdout, coreadmin.NewDeadLetter(&l))
}

type deadReplayCmd struct {
	cli.RedisFlags
	ID    []string `arg:"" optional:"" help:"Ids of the dead letters, as printed by list."`
	Group string   `placeholder:"GROUP" help:"With --all, the consumer group to replay." once:""`
	All   bool     `help:"Replay all dead letters of --group." once:""`
}

// Run replays dead letters.
func (c deadReplayCmd) Run(env *cli.Env) error {
	switch {
	case c.All && (c.Group == "" || len(c.ID) > 0):
		return cli.Usage("--all", "requires --group and no ids")
	case !c.All && len(c.ID) == 0:
		return cli.Usage("", "the ids of dead letters are required, or --group and --all")
	}
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	n, err := c.replayLetters(env.Context, rdb, keys)
	_, _ = fmt.Fprintf(env.Stdout, "replayed %s\n", pluralize(int64(n), "dead letter"))
	return err
}

func (c deadReplayCmd) replayLetters(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys) (int, error) {
	if c.All {
		return consumer.OpenDeadLetters(rdb, keys, c.Group).ReplayAll(ctx)
	}
	for i, id := range c.ID {
		err := consumer.OpenDeadLetters(rdb, keys, consumer.LetterGroup(id)).Replay(ctx, id)
		if err != nil {
			return i, err
		}
	}
	return len(c.ID), nil
}
