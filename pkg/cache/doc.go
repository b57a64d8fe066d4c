// Package cache answers what an account's balance is, from the balance hash in
// Redis behind an in-process LRU.
//
// A balance from Get is never older than the newest event that this process
// reported with Seen before Get was called. It is never guessed: when the
// hash is absent or lacks one of its type's fields, ok is false, and the caller asks
// the ledger. When Redis is away, Get returns the error; what it knew before, too, may
// have become old as soon as Seen is no longer called, which Config.Current tells.
package cache
