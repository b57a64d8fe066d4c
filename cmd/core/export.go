package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type exportCmd struct {
	databaseFlag
	Account string `required:"" placeholder:"ACCOUNT" help:"Whose entries: user:<id> or model:<id>."`
	From    string `placeholder:"TIME" help:"Only entries made at this time or later: 2026-11-01 (midnight UTC) or 2026-11-01T08:00:00Z."`
	To      string `placeholder:"TIME" help:"Only entries made before this time."`
	Format  string `default:"csv" enum:"csv,jsonl" help:"${enum}: CSV with a header row (RFC 4180), or JSON Lines of what GET …/entries lists."`
	Output  string `default:"-" placeholder:"FILE" help:"Where to; - is standard output. FILE appears when it is complete."`
}

// Help teaches by example.
func (exportCmd) Help() string {
	return "November of one account, oldest entry first:\n\n" +
		"  core export --account user:u1 --from 2026-11-01 --to 2026-12-01 --output u1-2026-11.csv\n\n" +
		"An account of any size is written in bounded memory."
}

// Run writes the entries.
func (c exportCmd) Run(env *cli.Env) error {
	account, err := optionalAccount(c.Account)
	if err != nil {
		return err
	}
	var filter wallet.EntryFilter
	if filter.From, err = moment("--from", c.From); err != nil {
		return err
	}
	if filter.To, err = moment("--to", c.To); err != nil {
		return err
	}
	if !filter.To.IsZero() && !filter.From.Before(filter.To) {
		return cli.Usage("--to", "%s is not after --from %s", c.To, c.From)
	}
	l, err := c.open(env.Context)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	return c.into(env.Stdout, func(w io.Writer) error {
		write, flush, err := entryWriter(c.Format, w)
		if err != nil {
			return err
		}
		if err := l.Export(env.Context, account, filter, write); err != nil {
			return err
		}
		return flush()
	})
}

// moment reads a time or a day. What is before 1970 is 1970, as in the ledger.
func moment(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		return t, cli.Usage(flag, "%q is neither a day (2026-11-01) nor a time (2026-11-01T08:00:00Z)", s)
	}
	if epoch := time.Unix(0, 0); t.Before(epoch) {
		return epoch, nil
	}
	return t, nil
}

// into lets write write to the output. A file is written beside its place and
// moved there when complete, so that a part never passes for the whole.
func (c exportCmd) into(stdout io.Writer, write func(io.Writer) error) error {
	if c.Output == "-" {
		return write(stdout)
	}
	part := c.Output + ".part"
	if at, err := os.Stat(c.Output); err == nil && !at.Mode().IsRegular() {
		part = c.Output // a pipe or a device stays what it is
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return cli.Usage("--output", "%v", err)
	}
	if err = errors.Join(write(f), f.Close()); part == c.Output {
		return err
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, c.Output)
}

// entryWriter writes entries in a format, and in the end what is still buffered.
func entryWriter(format string, w io.Writer) (write func(*wallet.Entry) error, flush func() error, err error) {
	b := bufio.NewWriterSize(w, 64<<10)
	if format == "jsonl" {
		return func(e *wallet.Entry) error {
			one := *e
			one.Metadata = oneLine(e.Metadata)
			line, err := coreapi.EntryJSON(&one)
			if err != nil {
				return err
			}
			_, err = b.Write(append(line, '\n'))
			return err
		}, b.Flush, nil
	}
	out := csv.NewWriter(b)
	out.UseCRLF = true
	row := make([]string, len(exportColumns))
	return func(e *wallet.Entry) error {
			for i := range exportColumns {
				row[i] = exportColumns[i].value(e)
			}
			return out.Write(row)
		}, func() error {
			out.Flush()
			return errors.Join(out.Error(), b.Flush())
		}, out.Write(exportHeader())
}

// exportColumns are named as the members of an entry in the HTTP API.
var exportColumns = []struct {
	name  string
	value func(*wallet.Entry) string
}{
	{"entryId", func(e *wallet.Entry) string { return e.ID.String() }},
	{"transactionId", func(e *wallet.Entry) string { return e.TransactionID.String() }},
	{"accountId", func(e *wallet.Entry) string { return string(e.Account) }},
	{"balanceState", func(e *wallet.Entry) string { return string(e.State) }},
	{"amount", func(e *wallet.Entry) string { return strconv.FormatInt(e.Amount, 10) }},
	{"balanceBefore", func(e *wallet.Entry) string { return strconv.FormatInt(e.BalanceBefore, 10) }},
	{"balanceAfter", func(e *wallet.Entry) string { return strconv.FormatInt(e.BalanceAfter, 10) }},
	{"seq", func(e *wallet.Entry) string { return strconv.FormatInt(e.Seq, 10) }},
	{"operation", func(e *wallet.Entry) string { return string(e.Operation) }},
	{"reason", func(e *wallet.Entry) string { return e.Reason }},
	{"escrowId", func(e *wallet.Entry) string {
		if e.EscrowID == uuid.Nil {
			return ""
		}
		return e.EscrowID.String()
	}},
	{"queueItemId", func(e *wallet.Entry) string { return e.QueueItemID }},
	{"featureType", func(e *wallet.Entry) string { return e.FeatureType }},
	{"correlationId", func(e *wallet.Entry) string { return e.CorrelationID }},
	{"requestId", func(e *wallet.Entry) string { return e.RequestID }},
	{"metadata", func(e *wallet.Entry) string { return string(oneLine(e.Metadata)) }},
	{"hash", func(e *wallet.Entry) string { return hex.EncodeToString(e.Hash) }},
	{"timestamp", func(e *wallet.Entry) string { return e.CreatedAt.UTC().Format(bus.TimeFormat) }},
}

func exportHeader() []string {
	names := make([]string, len(exportColumns))
	for i := range exportColumns {
		names[i] = exportColumns[i].name
	}
	return names
}

// oneLine is metadata without line breaks, which end a line of JSON Lines and which a CSV writer
// would change. What has none stays as it is.
func oneLine(metadata json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(metadata, "\r\n") {
		return metadata
	}
	var b bytes.Buffer
	_ = json.Compact(&b, metadata) // the ledger takes JSON only
	return b.Bytes()
}
