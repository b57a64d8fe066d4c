package wallet

import (
	"crypto/sha256"
	"encoding/binary"
)

// encodeSummary returns the canonical encoding of a transaction's fields that its entries do not
// contain. A text follows its length, a big-endian 32-bit integer. Other integers are 64-bit and
// big-endian. The summary is part of the hash of each entry of the transaction. So the audit
// detects a changed reason in the same way as a changed amount.
func encodeSummary(tx *Transaction) []byte {
	b := make([]byte, 0, 192+len(tx.Metadata))
	b = append(b, tx.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(tx.CreatedAt.UnixMilli()))
	texts := [...]string{
		string(tx.Operation),
		tx.Reason,
		tx.QueueItemID,
		tx.FeatureType,
		tx.CorrelationID,
		tx.RequestID,
	}

	for _, s := range texts {
		b = appendHashedText(b, s)
	}

	b = binary.BigEndian.AppendUint32(b, uint32(len(tx.Metadata)))
	return append(b, tx.Metadata...)
}

// hashEntry returns the SHA-256 hash of the account's previous hash, the transaction's summary and
// the entry's canonical encoding. So the hashes of an account form a chain. The previous hash is
// empty for the first entry of an account and for all entries of a system account.
func hashEntry(previous, summary []byte, e *Entry) []byte {
	b := make([]byte, 0, 512)
	b = append(b, previous...)
	b = append(b, summary...)
	b = appendHashedText(b, string(e.Account))
	b = appendHashedText(b, string(e.State))
	numbers := [...]int64{
		int64(e.Place),
		e.Seq,
		e.Amount,
		e.BalanceBefore,
		e.BalanceAfter,
	}

	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}

	sum := sha256.Sum256(b)
	return sum[:]
}

func appendHashedText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// hashRequest returns the first 16 bytes of the SHA-256 hash of a request. The hash contains the
// fields that a retry must have in common with the first request.
func hashRequest(op *Op) [16]byte {
	b := make([]byte, 0, 512)
	texts := [...]string{
		string(op.Operation),
		string(op.Account),
		string(op.Model),
		op.Reason,
		op.QueueItemID,
		op.FeatureType,
		op.CorrelationID,
		string(op.Metadata),
	}

	for _, s := range texts {
		b = appendHashedText(b, s)
	}

	if op.Operation != OpHold { // each attempt of a hold has a new escrow id
		b = append(b, op.EscrowID[:]...)
	}

	numbers := [...]int64{
		op.Amount,
		op.RefundAmount,
		op.SettleAmount,
		int64(op.ExpiresIn),
	}

	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}

	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
