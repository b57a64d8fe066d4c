// Package client shows live balances and events of a gateway.
package client
