package wallet

// posting adds entries and parties to a transaction, one wallet after the other.
type posting struct {
	tx      *Transaction
	summary []byte  // see encodeSummary
	w       *wallet // the wallet of the open party
}

// openParty starts the entries of a wallet. hasOwnEvent means that the operation has an event of
// its own. This event has the seq before the party's first entry.
func (p *posting) openParty(w *wallet, hasOwnEvent bool) {
	p.w = w
	p.tx.chains.appendChain(hashChain(w.Hash))
	if hasOwnEvent {
		w.Seq++
		p.tx.chains.appendChain(ownEventChain(w.Hash, p.tx.ID))
	}
}

// postEntry changes one balance of the open party and adds the entry.
func (p *posting) postEntry(s BalanceState, amount int64) {
	w := p.w
	w.Seq++
	balance := w.balanceOf(s)
	e := Entry{
		TransactionID: p.tx.ID,
		Place:         len(p.tx.Entries),
		Account:       w.Account,
		State:         s,
		Amount:        amount,
		BalanceBefore: *balance,
		BalanceAfter:  *balance + amount,
		Seq:           w.Seq,
		CreatedAt:     p.tx.CreatedAt,
	}

	e.Hash = hashEntry(w.Hash, p.summary, &e)
	*balance = e.BalanceAfter
	w.Hash = e.Hash
	p.tx.chains.appendChain(hashChain(e.Hash))
	p.tx.Entries = append(p.tx.Entries, e)
}

// closeParty ends the entries of a wallet and adds the party.
func (p *posting) closeParty() {
	p.w.changed = true
	p.w.UpdatedAt = p.tx.CreatedAt
	p.tx.Parties = append(p.tx.Parties, p.w.toParty())
}

// postSystemEntry adds the opposite entry of points that enter or leave the ledger.
func (p *posting) postSystemEntry(a Account, amount int64) {
	e := Entry{
		TransactionID: p.tx.ID,
		Place:         len(p.tx.Entries),
		Account:       a,
		State:         StateSystem,
		Amount:        amount,
		CreatedAt:     p.tx.CreatedAt,
	}

	e.Hash = hashEntry(nil, p.summary, &e)
	p.tx.Entries = append(p.tx.Entries, e)
}
