// Package cache returns the balances of accounts. It reads the balance hashes in Redis and keeps
// balances in an LRU in the process.
//
// A balance from Get is never older than the newest event that this process reported with Seen
// or RequireSeq before it called Get. If the hash in Redis is absent or incomplete, ok is false, and the caller
// must ask the ledger.
//
// If Redis is unavailable, Get returns its error. Balances in the LRU are used only while
// Config.Current reports that Seen is called for every event of the account.
package cache
