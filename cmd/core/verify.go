package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type verifyCmd struct {
	databaseFlag
	cli.RedisFlags
	Account string `placeholder:"ACCOUNT" help:"Verify only this account, user:<id> or model:<id>. Default: all accounts and all transactions." once:""`
	Against string `placeholder:"TARGET" help:"Find what Redis or a file has and the ledger lacks, instead of verifying the ledger. TARGET is redis, or a file: an export, or events or receipts as JSON Lines." once:""`
	JSON    bool   `name:"json" help:"Print the report as JSON. Without --against it is the answer of POST /admin/reconcile." once:""`
}

// Help explains the checks and the exit codes.
func (verifyCmd) Help() string {
	return "Reads the whole ledger in one consistent snapshot, in bounded memory, while cores continue to commit, and verifies that\n\n" +
		"  - the entries of each transaction sum to zero and follow from it,\n" +
		"  - each balance is the sum of its entries, and each entry begins where the previous one ended,\n" +
		"  - each account's seq has no gap and matches its events, and its hash chain is intact,\n" +
		"  - escrow balances are the sums of held escrows, and each escrow is the result of its transactions,\n" +
		"  - each idempotency key belongs to one transaction of its operation, and no other key does,\n" +
		"  - the journal, which GET /v1/events follows, has each transaction once, and those of an account in the order of its seq,\n" +
		"  - all points issued are available, in escrow, earned or paid out.\n\n" +
		"After a failover to an asynchronous standby, or after a restored backup, the ledger may lack transactions whose receipts and events exist. Find them:\n\n" +
		"  core verify --against redis\n" +
		"  core verify --against u1-2026-11.csv\n\n" +
		"The first reads all streams and balance hashes of --redis-url and --namespace. It prints each event whose transaction the ledger lacks, and each balance hash that differs. " +
		"The second reads a file of core export, or JSON Lines of events or receipts. Both use bounded memory and list all findings. --account limits them to one account.\n\n" +
		"Exit codes, as of diff: 0, no findings; 1, findings, which are printed; 2, wrong usage, or the ledger, Redis or the file could not be read."
}

// errFindings is the error of a verification that found something.
var errFindings = errors.New("findings")

// Run verifies the ledger, or compares something with it, and prints a report. Any error but
// errFindings means that it could not look.
func (c verifyCmd) Run(env *cli.Env) error {
	account, err := parseOptionalAccount(c.Account)
	if err != nil {
		return err
	}
	l, err := c.openLedger(env.Context)
	if err != nil {
		return cli.Unable(err)
	}
	defer func() { _ = l.Close() }()

	if c.Against != "" {
		err = c.compare(env, l, account)
	} else {
		err = c.verify(env, l, account)
	}
	if err != nil && !errors.Is(err, errFindings) {
		return cli.Unable(err)
	}
	return err
}

// verify verifies the ledger itself.
func (c verifyCmd) verify(env *cli.Env, l *wallet.Ledger, account wallet.Account) error {
	progress, finish := showProgress(env.Stderr)
	report, err := coreadmin.VerifyLedger(env.Context, l, wallet.VerifyOptions{
		Account:  account,
		Progress: progress,
	})
	finish()
	if err != nil {
		return err
	}

	if c.JSON {
		err = printJSON(env.Stdout, report)
	} else {
		err = printReport(env.Stdout, report)
	}
	if err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("the ledger is inconsistent: %w", findingsError(report.FindingCount))
	}
	return nil
}

// findingsError is errFindings with a number.
type findingsError int64

func (n findingsError) Error() string { return pluralize(int64(n), "finding") }

func (n findingsError) Is(target error) bool { return target == errFindings }

// openLedger opens the ledger for reading, also on a standby that the URL names.
func (f databaseFlag) openLedger(ctx context.Context) (*wallet.Ledger, error) {
	err := f.validate()
	if err != nil {
		return nil, err
	}
	l, err := wallet.Open(ctx, f.DatabaseURL, wallet.Config{MaxConns: 2, OnlyRead: true})
	if err != nil {
		return nil, explainDatabase(err)
	}
	return l, nil
}

// parseOptionalAccount parses --account. It returns "" if the flag is absent.
func parseOptionalAccount(s string) (wallet.Account, error) {
	if s == "" {
		return "", nil
	}
	account, err := wallet.ParseAccount(s)
	if err != nil {
		return "", cli.Usage("--account", "must be user:<id> or model:<id>, got %q", s)
	}
	return account, nil
}

// showProgress draws a progress bar if w is a terminal.
func showProgress(w io.Writer) (progress func(done, expected int64), finish func()) {
	f, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("verifying"),
		progressbar.OptionSetItsString("entries"),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
	progress = func(done, expected int64) {
		if bar.GetMax64() != expected {
			bar.ChangeMax64(max(expected, 1))
		}
		_ = bar.Set64(min(done, expected)) // a failure to draw does not affect the result
	}
	return progress, func() { _ = bar.Clear() }
}

func printReport(w io.Writer, r *coreadmin.Report) error {
	p := newTable(w) // Flush returns the error of any write
	checked := pluralize(r.Accounts, "account") + ", " + pluralize(r.Entries, "entry")
	if r.Totals != nil { // absent in the report of a single account
		checked += ", " + pluralize(r.Transactions, "transaction")
	}
	_, _ = fmt.Fprintf(p, "checked %s in %.1f s\n", checked, r.Seconds)
	if r.Totals != nil && r.Totals.Balanced() {
		printTotals(p, r.Totals)
	}
	if r.OK {
		_, _ = fmt.Fprintln(p, "no findings")
		return p.Flush()
	}
	printFindings(p, r)
	return p.Flush()
}

func printTotals(w io.Writer, t *wallet.Totals) {
	_, _ = fmt.Fprintf(w, "issued %d = available %d + in escrow %d + earned %d + paid out %d\n",
		t.Issued, t.Available, t.Escrow, t.Earned, t.PaidOut)
}

func printFindings(w io.Writer, r *coreadmin.Report) {
	_, _ = fmt.Fprint(w, "\nCHECK\tACCOUNT\tSEQ\tTRANSACTION\tFINDING\n")
	for _, f := range r.Findings {
		seq := ""
		if f.Seq != 0 {
			seq = fmt.Sprint(f.Seq)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Check, f.Account, seq, f.TransactionID, f.Detail)
	}
	more := r.FindingCount - int64(len(r.Findings))
	if more > 0 {
		_, _ = fmt.Fprintf(w, "and %d more\n", more)
	}
}
