package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/compare"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// againstRedis is the value of --against for Redis. A file with this name is ./redis.
const againstRedis = "redis"

// compare compares Redis or a file with the ledger, and prints the findings while it finds them.
func (c verifyCmd) compare(env *cli.Env, l *wallet.Ledger, account wallet.Account) error {
	progress, finish := showProgress(env.Stderr)
	defer finish()
	out := newFindingWriter(env.Stdout, c.JSON)
	options := compare.Options{
		Account:  string(account),
		Found:    out.writeFinding,
		Progress: progress,
	}

	var report *compare.Report
	var err error
	if c.Against == againstRedis {
		report, err = c.compareRedis(env, l, options)
	} else {
		report, err = c.compareFile(env, l, options)
	}
	if err != nil {
		return err
	}
	finish()
	err = out.writeReport(report, c.Against)
	if err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("%s differs from the ledger: %w", nameTarget(c.Against), findingsError(report.FindingCount))
	}
	return nil
}

func (c verifyCmd) compareRedis(env *cli.Env, l *wallet.Ledger, o compare.Options) (*compare.Report, error) {
	rdb, keys, err := openRedis(env.Context, c.RedisFlags)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rdb.Close() }()
	return compare.Redis(env.Context, l, rdb, keys, o)
}

func (c verifyCmd) compareFile(env *cli.Env, l *wallet.Ledger, o compare.Options) (*compare.Report, error) {
	f, err := os.Open(c.Against)
	if err != nil {
		return nil, cli.Usage("--against", "must be redis or a file that can be read: %v", err)
	}
	defer func() { _ = f.Close() }()
	report, err := compare.File(env.Context, l, f, o)
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", c.Against, err)
	}
	return report, nil
}

func nameTarget(against string) string {
	if against == againstRedis {
		return "Redis"
	}
	return against
}

// A findingWriter prints findings one by one, since there may be more than fit into memory.
type findingWriter struct {
	out   io.Writer
	json  bool
	count int64
	table *tabwriter.Writer
}

func newFindingWriter(out io.Writer, asJSON bool) *findingWriter {
	return &findingWriter{
		out:   out,
		json:  asJSON,
		table: newTable(out),
	}
}

// tablePage is how many lines are aligned with each other.
const tablePage = 1000

func (w *findingWriter) writeFinding(f *compare.Finding) error {
	w.count++
	if w.json {
		return w.writeJSON(f)
	}
	if w.count == 1 {
		_, _ = fmt.Fprintln(w.table, "CHECK\tACCOUNT\tSEQ\tCHAIN\tTRANSACTION\tTYPE\tAMOUNT\tTIME\tSOURCE\tFINDING")
	}
	_, err := fmt.Fprintf(w.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
		f.Check, f.Account, formatPositive(f.Seq), f.Chain, f.TransactionID, f.EventType, formatPositive(f.Amount), f.Timestamp, f.Source, f.Detail)
	if err != nil || w.count%tablePage != 0 {
		return err
	}
	return w.table.Flush()
}

// formatPositive returns "" for a number that is absent.
func formatPositive(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// writeJSON writes a finding as a member of the list that begins the report.
func (w *findingWriter) writeJSON(f *compare.Finding) error {
	line, err := encodeJSON(f)
	if err != nil {
		return err
	}
	separator := ",\n"
	if w.count == 1 {
		separator = "{\n  \"findings\": [\n"
	}
	_, err = fmt.Fprintf(w.out, "%s    %s", separator, line)
	return err
}

// encodeJSON returns v as one line of JSON.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// writeReport writes what follows the findings.
func (w *findingWriter) writeReport(r *compare.Report, against string) error {
	if w.json {
		return w.writeJSONReport(r)
	}
	err := w.table.Flush()
	if err != nil {
		return err
	}
	if w.count > 0 {
		_, _ = fmt.Fprintln(w.out)
	}
	_, err = fmt.Fprint(w.out, summarize(r, nameTarget(against)))
	return err
}

// writeJSONReport closes the list of findings and adds the members of the report to the object.
func (w *findingWriter) writeJSONReport(r *compare.Report) error {
	members, err := encodeJSON(r)
	if err != nil {
		return err
	}
	opening := "{\n  \"findings\": [],\n"
	if w.count > 0 {
		opening = "\n  ],\n"
	}
	var rest bytes.Buffer
	err = json.Indent(&rest, members, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "%s%s\n", opening, bytes.TrimPrefix(rest.Bytes(), []byte("{\n")))
	return err
}

// summarize returns the result in words.
func summarize(r *compare.Report, target string) string {
	var b bytes.Buffer
	compared := pluralize(r.Events, "event")
	if r.Hashes > 0 {
		compared += " and " + pluralize(r.Hashes, "balance hash")
	}
	_, _ = fmt.Fprintf(&b, "compared %s in %.1f s\n", compared, r.Seconds)
	if r.Behind > 0 {
		_, _ = fmt.Fprintf(&b, "%s behind the ledger; the core publishes their events\n", pluralize(r.Behind, "balance hash")+isOrAre(r.Behind))
	}
	if r.OK {
		_, _ = fmt.Fprintln(&b, "no findings")
		return b.String()
	}

	if r.VoidEvents > 0 {
		_, _ = fmt.Fprintf(&b, "%s has %s of %s that the ledger does not have; receipts of these transactions are void\n",
			target, pluralize(r.VoidEvents, "event"), countDistinct(r.VoidTransactions, "transaction"))
		if r.Oldest != "" {
			_, _ = fmt.Fprintf(&b, "they are from %s to %s and belong to %s\n",
				r.Oldest, r.Newest, countDistinct(r.VoidAccounts, "account"))
		}
	}
	if r.HashFindings > 0 {
		_, _ = fmt.Fprintf(&b, "%s from the ledger\n", pluralize(r.HashFindings, "balance hash")+differOrDiffers(r.HashFindings))
	}
	others := r.FindingCount - r.VoidEvents - r.HashFindings
	if others > 0 {
		_, _ = fmt.Fprintf(&b, "%s not what the ledger has, or cannot be compared\n", pluralize(others, "event")+isOrAre(others))
	}
	return b.String()
}

// countDistinct returns a number of different things, which is not counted beyond a limit.
func countDistinct(n int64, noun string) string {
	text := pluralize(n, noun)
	if n == compare.MaxDistinct {
		return "at least " + text
	}
	return text
}

func isOrAre(n int64) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

func differOrDiffers(n int64) string {
	if n == 1 {
		return " differs"
	}
	return " differ"
}
