// Package realtime runs the whole core inside another program: the ledger, the outbox relay that
// publishes its events, a bus for subscriptions, and cached balances.
//
//	core, err := realtime.Open(ctx, realtime.Config{Database: databaseURL, RedisURL: redisURL, Group: "feed"})
//	defer core.Close()
//	core.Bus.Subscribe(…)
//	go core.Run(ctx)
//	receipt, err := core.Ledger.Do(ctx, wallet.Op{Operation: wallet.OpHold, …})
//
// The parts are the same as in the core and gateway commands, so these may run on the same database
// and Redis at the same time. The schema of the database must be current: call wallet.Migrate, or
// run core migrate up.
//
// With Config.Memory the core runs without Redis, for tests. Events are delivered to a bus in the
// process, and balances are read from the ledger. The ledger and the bus behave in the same way.
//
// # Stopping
//
// Run stops the parts in the order of the data flow. First the ledger commits the accepted
// operations, then the relay publishes them, then the bus stops. If a part fails, the other parts
// stop in the same order, and Run returns the error.
package realtime
