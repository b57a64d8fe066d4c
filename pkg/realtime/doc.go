// Package realtime is the whole core in one call, for programs that embed it: the ledger, the relay
// that publishes what the ledger commits, a bus that hands the events to subscriptions, and balances.
//
//	core, err := realtime.Open(ctx, realtime.Config{Database: databaseURL, RedisURL: redisURL, Group: "feed"})
//	defer core.Close()
//	core.Bus.Subscribe(…)
//	go core.Run(ctx)
//	receipt, err := core.Ledger.Do(ctx, wallet.Op{Operation: wallet.OpHold, …})
//
// The parts are those of the core and gateway commands, so they may run beside these on the same
// database and Redis. The database must be migrated: call wallet.Migrate, or run core migrate up.
//
// With Config.Memory the core runs without Redis, for tests: events go to a bus in the process, and
// balances are read from the ledger. What a test sees of ledger and bus is the same.
//
// # What stops when
//
// Run stops in the order in which data flows: first the ledger commits what it has accepted, then the
// relay publishes it, then the bus ends. If a part fails, the others stop in the same order, and Run
// returns the error.
package realtime
