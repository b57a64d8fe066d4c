package wallet

import "fmt"

const entriesWithoutAccount = `SELECT account, CAST(NULL AS uuid) AS id FROM entries e
	WHERE seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM wallets w WHERE w.account = e.account) GROUP BY account ORDER BY account`

const systemTotalsSQL = `SELECT account, count(*) AS n, ` + sumColumns + ` FROM entries WHERE seq IS NULL GROUP BY account`

// checkTotals adds the sums of the system accounts to the totals, and checks that the totals are
// balanced.
func (v *verifier) checkTotals(t *Totals) error {
	var rows []struct {
		Account string `db:"account"`
		Count   int64  `db:"n"`
		splitSum
	}

	err := v.tx.SelectContext(v.ctx, &rows, systemTotalsSQL)
	if err != nil {
		return err
	}

	partyEntries := v.storedEntries
	for _, r := range rows {
		partyEntries -= r.Count
		switch Account(r.Account) {
		case SystemIssuance:
			t.Issued.Neg(r.toBig())
		case SystemPayout:
			t.PaidOut = r.toBig()
		default:
			v.addFinding(Finding{
				Check:   CheckStray,
				Account: Account(r.Account),
				Detail:  "the account has entries without a seq but is not a system account",
			})
		}
	}

	if partyEntries != v.accountEntries {
		err := v.addRowFindings(entriesWithoutAccount, Finding{
			Check:  CheckBalance,
			Detail: "the account has entries but no balance",
		})
		if err != nil {
			return err
		}
	}

	v.report.Totals = t
	if !t.Balanced() {
		detail := fmt.Sprintf("issued %d is not %d paid out + %d available + %d in escrow + %d earned",
			t.Issued, t.PaidOut, t.Available, t.Escrow, t.Earned)
		v.addFinding(Finding{
			Check:  CheckTotal,
			Detail: detail,
		})
	}

	return nil
}
