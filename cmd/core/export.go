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
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// exportBufferBytes is the size of the output buffer.
const exportBufferBytes = 64 << 10

type exportCmd struct {
	databaseFlag
	Account string `required:"" placeholder:"ACCOUNT" help:"Account to export, user:<id> or model:<id>." once:""`
	From    string `placeholder:"TIME" help:"Export only entries made at this time or later: 2026-11-01 (midnight UTC) or 2026-11-01T08:00:00Z." once:""`
	To      string `placeholder:"TIME" help:"Export only entries made before this time." once:""`
	Format  string `default:"csv" enum:"csv,jsonl" help:"Format, one of ${enum}: CSV with a header row (RFC 4180), or JSON Lines with the entries of GET …/entries." once:""`
	Output  string `default:"-" placeholder:"FILE" help:"File to write; - is standard output. The file appears when it is complete." once:""`
}

// Help returns an example.
func (exportCmd) Help() string {
	return "The entries of one account in November, the oldest first:\n\n" +
		"  core export --account user:u1 --from 2026-11-01 --to 2026-12-01 --output u1-2026-11.csv\n\n" +
		"The command uses bounded memory, whatever the size of the account."
}

// Run writes the entries.
func (c exportCmd) Run(env *cli.Env) error {
	account, err := parseOptionalAccount(c.Account)
	if err != nil {
		return err
	}
	filter, err := c.entryFilter()
	if err != nil {
		return err
	}
	l, err := c.openLedger(env.Context)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()

	return c.writeOutput(env.Stdout, func(w io.Writer) error {
		out, err := newEntryWriter(c.Format, w)
		if err != nil {
			return err
		}
		err = l.Export(env.Context, account, filter, out.writeEntry)
		if err != nil {
			return err
		}
		return out.flush()
	})
}

func (c exportCmd) entryFilter() (wallet.EntryFilter, error) {
	from, err := parseTime("--from", c.From)
	if err != nil {
		return wallet.EntryFilter{}, err
	}
	to, err := parseTime("--to", c.To)
	if err != nil {
		return wallet.EntryFilter{}, err
	}
	if !to.IsZero() && !from.Before(to) {
		return wallet.EntryFilter{}, cli.Usage("--to", "must be after --from (%s), got %s", c.From, c.To)
	}
	return wallet.EntryFilter{From: from, To: to}, nil
}

// parseTime parses a time or a day. It returns 1970 for an earlier time, since the ledger has no
// entries before.
func parseTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		return t, cli.Usage(flag, "must be a day (2026-11-01) or a time (2026-11-01T08:00:00Z), got %q", s)
	}
	epoch := time.Unix(0, 0)
	if t.Before(epoch) {
		return epoch, nil
	}
	return t, nil
}

// writeOutput calls write with the output. A file is written under another name and renamed when it
// is complete, so that an incomplete file never has the final name.
func (c exportCmd) writeOutput(stdout io.Writer, write func(io.Writer) error) error {
	if c.Output == "-" {
		return write(stdout)
	}
	part := c.Output + ".part"
	info, err := os.Stat(c.Output)
	if err == nil && !info.Mode().IsRegular() {
		part = c.Output // a pipe or a device must not be replaced
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // balances are nobody else's business
	if err != nil {
		return cli.Usage("--output", "%v", err)
	}

	err = errors.Join(write(f), f.Close())
	switch {
	case part == c.Output:
		return err
	case err != nil:
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, c.Output)
}

// An entryWriter writes entries in one of the formats.
type entryWriter interface {
	writeEntry(e *wallet.Entry) error
	flush() error
}

func newEntryWriter(format string, w io.Writer) (entryWriter, error) {
	buffer := bufio.NewWriterSize(w, exportBufferBytes)
	if format == "jsonl" {
		return &jsonWriter{buffer: buffer}, nil
	}
	out := csv.NewWriter(buffer)
	out.UseCRLF = true
	err := out.Write(exportHeader())
	if err != nil {
		return nil, err
	}
	return &csvWriter{
		buffer: buffer,
		out:    out,
		row:    make([]string, len(exportColumns)),
	}, nil
}

// jsonWriter writes JSON Lines.
type jsonWriter struct{ buffer *bufio.Writer }

func (w *jsonWriter) writeEntry(e *wallet.Entry) error {
	single := *e
	single.Metadata = compactMetadata(e.Metadata)
	line, err := coreapi.EntryJSON(&single)
	if err != nil {
		return err
	}
	_, err = w.buffer.Write(append(line, '\n'))
	return err
}

func (w *jsonWriter) flush() error { return w.buffer.Flush() }

// csvWriter writes CSV.
type csvWriter struct {
	buffer *bufio.Writer
	out    *csv.Writer
	row    []string
}

func (w *csvWriter) writeEntry(e *wallet.Entry) error {
	for i := range exportColumns {
		w.row[i] = exportColumns[i].value(e)
	}
	return w.out.Write(w.row)
}

func (w *csvWriter) flush() error {
	w.out.Flush()
	return errors.Join(w.out.Error(), w.buffer.Flush())
}

// exportColumns have the names of the members of an entry in the HTTP API.
var exportColumns = []struct {
	name  string
	value func(*wallet.Entry) string
}{
	{"entryId", func(e *wallet.Entry) string { return e.ID.String() }},
	{"transactionId", func(e *wallet.Entry) string { return e.TransactionID.String() }},
	{"account", func(e *wallet.Entry) string { return string(e.Account) }},
	{"accountId", func(e *wallet.Entry) string { return e.Account.ID() }},
	{"accountType", func(e *wallet.Entry) string { return string(e.Account.Type()) }},
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
	{"queueItemId", func(e *wallet.Entry) string { return quoteFormula(e.QueueItemID) }},
	{"featureType", func(e *wallet.Entry) string { return quoteFormula(e.FeatureType) }},
	{"correlationId", func(e *wallet.Entry) string { return quoteFormula(e.CorrelationID) }},
	{"requestId", func(e *wallet.Entry) string { return quoteFormula(e.RequestID) }},
	{"metadata", func(e *wallet.Entry) string { return string(compactMetadata(e.Metadata)) }},
	{"hash", func(e *wallet.Entry) string { return hex.EncodeToString(e.Hash) }},
	{"timestamp", func(e *wallet.Entry) string { return e.CreatedAt.UTC().Format(bus.TimeFormat) }},
}

// quoteFormula puts an apostrophe in front of a client's text that a spreadsheet would run as a
// formula. A number stays a number.
func quoteFormula(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return text
	}
	_, err := strconv.ParseFloat(text, 64)
	if err == nil {
		return text
	}
	return "'" + text
}

func exportHeader() []string {
	names := make([]string, len(exportColumns))
	for i := range exportColumns {
		names[i] = exportColumns[i].name
	}
	return names
}

// compactMetadata returns metadata without line breaks. A line break would end a line of JSON Lines,
// and a CSV writer would change it. Metadata without line breaks is returned unchanged.
func compactMetadata(metadata json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(metadata, "\r\n") {
		return metadata
	}
	var b bytes.Buffer
	_ = json.Compact(&b, metadata) // cannot fail, since the ledger accepts only JSON
	return b.Bytes()
}
