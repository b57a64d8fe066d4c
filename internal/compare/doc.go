// Package compare compares what Redis has, or what an exported file has, with the ledger. It finds
// the events that the ledger does not have: after a failover to an asynchronous standby, or after a
// restored backup, the receipts of their transactions are void. `core verify --against` prints them.
//
// It reads Redis first and the ledger afterwards. Events are committed before they are published,
// so cores may commit and publish meanwhile. It uses bounded memory: pages of stream entries, of
// balance hashes or of records, each followed by one query to the ledger.
package compare
