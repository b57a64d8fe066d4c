// Package feed delivers the events of accounts to the subscriptions of clients. An Index has a feed
// for each account of each subscription. It catches up the feeds from the memory of recent events
// and from the ledger, and goes back with the ledger. Package ws opens connections, reads their
// frames and writes the send queues that this package fills.
package feed
