package wallet

import (
	"crypto/sha256"
	"encoding/binary"
)

// encodeSummary returns a transaction's canonical form: all that does not follow from its entries. A
// text has its length before it; an integer is 8 bytes, big endian. The summary is part of the hash
// of each of its entries, so that the audit finds a changed reason like a changed amount.
func encodeSummary(tx *Transaction) []byte {
	b := make([]byte, 0, 192+len(tx.Metadata))
	b = append(b, tx.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(tx.CreatedAt.UnixMilli()))
	texts := [...]string{
		string(tx.Operation), tx.Reason, tx.QueueItemID, tx.FeatureType, tx.CorrelationID, tx.RequestID,
	}

	for _, s := range texts {
		b = appendHashedText(b, s)
	}

	b = binary.BigEndian.AppendUint32(b, uint32(len(tx.Metadata)))
	return append(b, tx.Metadata...)
}

// hashEntry returns SHA-256 over the account's previous hash, the transaction's summary and the
// entry's canonical form. The previous hash is empty for an account's first entry and for system
// accounts. So each account's hashes are a chain.
func hashEntry(previous, summary []byte, e *Entry) []byte {
	b := make([]byte, 0, 512)
	b = append(b, previous...)
	b = append(b, summary...)
	b = appendHashedText(b, string(e.Account))
	b = appendHashedText(b, string(e.State))
	for _, n := range [...]int64{int64(e.Place), e.Seq, e.Amount, e.BalanceBefore, e.BalanceAfter} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}

	sum := sha256.Sum256(b)
	return sum[:]
}

func appendHashedText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// requestHash identifies a request under its idempotency key: the first 16 bytes of SHA-256 over
// all fields that a repeat must have in common with the first request.
func hashRequest(op *Op) [16]byte {
	b := make([]byte, 0, 512)
	texts := [...]string{
		string(op.Operation), string(op.Account), string(op.Model), op.Reason, op.QueueItemID, op.FeatureType,
		op.CorrelationID, string(op.Metadata),
	}

	for _, s := range texts {
		b = appendHashedText(b, s)
	}

	if op.Operation != OpHold { // a hold's escrow id is new in every try
		b = append(b, op.EscrowID[:]...)
	}

	for _, n := range [...]int64{op.Amount, op.RefundAmount, op.SettleAmount, int64(op.ExpiresIn)} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}

	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
