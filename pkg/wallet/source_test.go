package wallet_test

import (
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The ledger is what the relay publishes from. The assertion stands in a test, since the relay
// compiles a Redis client in and the ledger must not.
var _ relay.Source = (*wallet.Ledger)(nil)
