package wallet

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// hashChain returns the chain of an event with an entry: the first 8 bytes of the entry's hash. It
// returns 0 for the empty hash of an account that has no entry yet.
func hashChain(hash []byte) bus.Chain {
	if len(hash) < chainSize {
		return 0
	}

	return bus.Chain(binary.BigEndian.Uint64(hash))
}

// ownEventChain returns the chain of an escrow operation's own event, which has no entry. before is
// the account's hash before the operation. It is empty if the account has no entry yet.
func ownEventChain(before []byte, transaction uuid.UUID) bus.Chain {
	var hashed [sha256.Size + len(transaction)]byte
	copy(hashed[:sha256.Size], before)
	copy(hashed[sha256.Size:], transaction[:])
	sum := sha256.Sum256(hashed[:])
	return hashChain(sum[:])
}

// chainSize is the size of an encoded chain, in bytes.
const chainSize = 8

// maxChains is the largest number of chains of a transaction: those of a partial settlement.
const maxChains = 4 + 3

// eventChains holds the chains of a transaction's events. For each party, the user first, it has
// the chain before the transaction and then the chain of each of the party's events. Each chain has
// chainSize bytes.
type eventChains []byte

func (c *eventChains) appendChain(chain bus.Chain) {
	if *c == nil {
		*c = make(eventChains, 0, maxChains*chainSize)
	}

	*c = binary.BigEndian.AppendUint64(*c, uint64(chain))
}

// chainAt returns a chain by its index. It returns 0 if there is no such chain. That happens only
// if the row was tampered with.
func (c eventChains) chainAt(index int) bus.Chain {
	start := index * chainSize
	if start+chainSize > len(c) {
		return 0
	}

	return bus.Chain(binary.BigEndian.Uint64(c[start:]))
}

// eventCount returns the number of a party's events.
func (tx *Transaction) eventCount(p *Party) int {
	switch {
	case !tx.isEscrowOperation():
		return 1
	case p.Account.IsModel() || tx.Operation == OpSettle:
		return 2
	}

	return 3
}

// chainCount returns the number of chains that the transaction has.
func (tx *Transaction) chainCount() int {
	n := 0
	for i := range tx.Parties {
		n += 1 + tx.eventCount(&tx.Parties[i])
	}

	return n
}

// setPartyChains sets the chain of each party from the chains of the events.
func (tx *Transaction) setPartyChains() {
	last := -1
	for i := range tx.Parties {
		p := &tx.Parties[i]
		last += 1 + tx.eventCount(p)
		p.Chain = tx.chains.chainAt(last)
	}
}

// partyChains returns the chains of one party. It returns fewer of them if the row was tampered
// with.
func (tx *Transaction) partyChains(p *Party) eventChains {
	start := 0
	for i := range tx.Parties {
		end := start + (1+tx.eventCount(&tx.Parties[i]))*chainSize
		if tx.Parties[i].Account == p.Account {
			start = min(start, len(tx.chains))
			end = min(end, len(tx.chains))
			return tx.chains[start:end]
		}

		start = end
	}

	return nil
}
