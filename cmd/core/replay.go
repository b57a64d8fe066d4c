package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type replayCmd struct {
	databaseFlag
	cli.RedisFlags
	Group        string  `placeholder:"GROUP" help:"Consumer group that handles the events again. Either --group or --output is required." once:""`
	Subscription string  `placeholder:"ID" help:"Only this subscription of the group handles the events. Default: all." once:""`
	Output       string  `placeholder:"FILE" help:"File to append to, as JSON Lines with the items of GET /v1/events; - is standard output." once:""`
	From         string  `placeholder:"TIME" help:"Begin at this time: 2026-11-01 (midnight UTC) or 2026-11-01T08:00:00Z. Default: the first event." once:""`
	Cursor       string  `placeholder:"CURSOR" help:"Begin at this cursor, the next of GET /v1/events, instead of --from." once:""`
	To           string  `placeholder:"TIME" help:"Only events before this time. Default: all." once:""`
	Rate         float64 `placeholder:"N" help:"Largest number of events in a second. Default: no limit." once:""`
	Copies       bool    `help:"Also the second party's delivery of an event with two parties." once:""`
	Restart      bool    `help:"Forget the place at which an earlier replay with this output or group was interrupted." once:""`
}

// Help explains the command, with examples.
func (replayCmd) Help() string {
	return "Reads the events of all accounts from the ledger, in an order that keeps each account's seq, and gives them to a consumer group or writes them to a file:\n\n" +
		"  core replay --group analytics --from 2026-11-01 --rate 500\n" +
		"  core replay --output events.jsonl --copies\n\n" +
		"Other groups get nothing. Handlers must accept an event that they had before. " +
		"A command that was interrupted continues where it was when it is called again. FILE.cursor has the place of a file."
}

const replayName = "core-replay"

// Run replays the events.
func (c replayCmd) Run(env *cli.Env) error {
	if (c.Group == "") == (c.Output == "") {
		return cli.Usage("--group", "must be given, or --output, and not both")
	}
	if c.Rate < 0 {
		return cli.Usage("--rate", "must be 0 or more, got %v", c.Rate)
	}
	from, err := parseTime("--from", c.From)
	if err != nil {
		return err
	}
	to, err := parseTime("--to", c.To)
	if err != nil {
		return err
	}
	ledger, err := c.openLedger(env.Context)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.Close() }()

	if c.Output != "" {
		w := replayWriter{cmd: &c, ledger: ledger, from: from, to: to}
		return w.write(env)
	}
	return c.replayToGroup(env, ledger, from, to)
}

// replayToGroup copies the events into the replay streams of the group.
func (c replayCmd) replayToGroup(env *cli.Env, ledger *wallet.Ledger, from, to time.Time) error {
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()

	copier, err := backfill.New(rdb, backfill.Config{
		Keys:         keys,
		Group:        c.Group,
		Name:         replayName,
		Subscription: c.Subscription,
		History:      ledger,
		From:         from,
		Cursor:       c.Cursor,
		To:           to,
		Copies:       c.Copies,
		Rate:         c.Rate,
	})
	if err != nil {
		return err
	}
	if c.Restart {
		err := copier.Restart(env.Context, from)
		if err != nil {
			return describeReplayError(err)
		}
	}

	added, err := copier.Copy(env.Context)
	if err != nil {
		return describeReplayError(err)
	}
	_, err = fmt.Fprintf(env.Stdout, "%d events were added for the group %s\n", added, c.Group)
	return err
}

func describeReplayError(err error) error {
	switch {
	case errors.Is(err, backfill.ErrLocked):
		return fmt.Errorf("%w; if it was killed, try again in 10 s", err)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; the same command continues")
	}
	return err
}

var _ bus.History = (*wallet.Ledger)(nil)
