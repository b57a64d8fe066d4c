package wallet_test

import (
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The relay publishes from the ledger. The assertion is in a test because the relay imports a Redis
// client, which the ledger must not.
var _ relay.Source = (*wallet.Ledger)(nil)
