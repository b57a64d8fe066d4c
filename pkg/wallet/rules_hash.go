package wallet

import (
	"crypto/sha256"
	"encoding/binary"
)

// summarize is a transaction's canonical form: what does not follow from its
// entries, each text with its length before it, integers as 8 bytes big endian.
// It is part of the hash of each of its entries, so that a changed reason shows
// like a changed amount.
func summarize(tx *Transaction) []byte {
	b := make([]byte, 0, 192+len(tx.Metadata))
	b = append(b, tx.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(tx.CreatedAt.UnixMilli()))
	for _, s := range [...]string{string(tx.Operation), tx.Reason, tx.QueueItemID, tx.FeatureType, tx.CorrelationID, tx.RequestID} {
		b = appendText(b, s)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(tx.Metadata)))
	return append(b, tx.Metadata...)
}

// entryHash is SHA-256 over the account's previous hash (empty before the
// first entry and for system accounts), the transaction's summary and the
// entry's canonical form. Each account's hashes are a chain.
func entryHash(previous, summary []byte, e *Entry) []byte {
	b := make([]byte, 0, 512)
	b = append(b, previous...)
	b = append(b, summary...)
	b = appendText(b, string(e.Account))
	b = appendText(b, string(e.State))
	for _, n := range [...]int64{int64(e.Place), e.Seq, e.Amount, e.BalanceBefore, e.BalanceAfter} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// requestHash identifies what was asked for under an idempotency key: the first
// 16 bytes of SHA-256 over all that a repeat must equal.
func requestHash(op *Op) [16]byte {
	b := make([]byte, 0, 512)
	for _, s := range [...]string{string(op.Operation), string(op.Account), string(op.Model), op.Reason, op.QueueItemID, op.FeatureType, op.CorrelationID, string(op.Metadata)} {
		b = appendText(b, s)
	}
	if op.Operation != OpHold { // a hold's escrow id is new at every try
		b = append(b, op.EscrowID[:]...)
	}
	for _, n := range [...]int64{op.Amount, op.RefundAmount, op.SettleAmount, int64(op.ExpiresIn)} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
