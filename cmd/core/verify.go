package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type verifyCmd struct {
	databaseFlag
	Account string `placeholder:"ACCOUNT" help:"Only this account, user:<id> or model:<id>. Absent: all accounts and all transactions."`
	JSON    bool   `name:"json" help:"Print the report as JSON, as POST /admin/reconcile answers it."`
}

// Help tells what is checked.
func (verifyCmd) Help() string {
	return "Reads the whole ledger on one consistent snapshot, in bounded memory, while cores go on committing, and checks that\n\n" +
		"  - the entries of each transaction sum to zero and follow from it,\n" +
		"  - each balance is the sum of its entries, and each entry begins where the one before ended,\n" +
		"  - each account's seq has no hole and fits its events, and its hash chain holds,\n" +
		"  - escrow balances are the sums of held escrows, and each escrow is what its transactions made it,\n" +
		"  - each idempotency key stands for a transaction of its operation, which no other key does,\n" +
		"  - all points issued are available, in escrow, earned or paid out.\n\n" +
		"Exit codes: 0 nothing is wrong; 1 something is, and the rows are printed, or the ledger could not be read; 2 wrong usage."
}

// Run verifies.
func (c verifyCmd) Run(env *cli.Env) error {
	account, err := optionalAccount(c.Account)
	if err != nil {
		return err
	}
	l, err := c.open(env.Context)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()

	progress, finish := showProgress(env.Stderr)
	report, err := coreadmin.VerifyLedger(env.Context, l, wallet.VerifyOptions{Account: account, Progress: progress})
	finish()
	if err != nil {
		return err
	}
	show := printReport
	if c.JSON {
		show = printReportJSON
	}
	if err := show(env.Stdout, report); err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("the ledger is not as it must be: %s", plural(report.FindingCount, "finding"))
	}
	return nil
}

// open opens the ledger for reading; nothing is committed without its Run.
func (f databaseFlag) open(ctx context.Context) (*wallet.Ledger, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	l, err := wallet.Open(ctx, f.DatabaseURL, wallet.Config{MaxConns: 2})
	if err != nil {
		return nil, explainDatabase(err)
	}
	return l, nil
}

func optionalAccount(s string) (wallet.Account, error) {
	if s == "" {
		return "", nil
	}
	a, err := wallet.ParseAccount(s)
	if err != nil {
		return "", cli.Usage("--account", "%q is not user:<id> or model:<id>", s)
	}
	return a, nil
}

// showProgress draws a bar on a terminal, and nothing elsewhere.
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
	return func(done, expected int64) {
		if bar.GetMax64() != expected {
			bar.ChangeMax64(max(expected, 1))
		}
		_ = bar.Set64(min(done, expected)) // a bar that cannot be drawn is no failure
	}, func() { _ = bar.Clear() }
}

func printReportJSON(w io.Writer, r *coreadmin.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

func printReport(w io.Writer, r *coreadmin.Report) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) // Flush reports what fails
	what := plural(r.Accounts, "account") + ", " + plural(r.Entries, "entry")
	if r.Totals != nil { // all of them, and not one account
		what += ", " + plural(r.Transactions, "transaction")
	}
	_, _ = fmt.Fprintf(p, "checked %s in %.1f s\n", what, r.Seconds)
	if t := r.Totals; t != nil && t.Balanced() {
		_, _ = fmt.Fprintf(p, "issued %d = available %d + in escrow %d + earned %d + paid out %d\n", t.Issued, t.Available, t.Escrow, t.Earned, t.PaidOut)
	}
	if r.OK {
		_, _ = fmt.Fprintln(p, "nothing is wrong")
		return p.Flush()
	}
	_, _ = fmt.Fprint(p, "\nCHECK\tACCOUNT\tSEQ\tTRANSACTION\tWHAT IS WRONG\n")
	for _, f := range r.Findings {
		seq := ""
		if f.Seq != 0 {
			seq = fmt.Sprint(f.Seq)
		}
		_, _ = fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\n", f.Check, f.Account, seq, f.TransactionID, f.Detail)
	}
	if more := r.FindingCount - int64(len(r.Findings)); more > 0 {
		_, _ = fmt.Fprintf(p, "and %d more\n", more)
	}
	return p.Flush()
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "entry" {
		return fmt.Sprintf("%d entries", n)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
