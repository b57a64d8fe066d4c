// Package client has two clients: Client follows live balances and events at a gateway, and Ledger
// calls the ledger API of a core. This page is about Client; see Ledger for the other one.
//
//	c, err := client.Dial(ctx, "wss://gateway.example.com/v1/ws", client.Config{Token: fetchToken})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	balance := c.Balance("user:u1")
//	defer balance.Close()
//	for state := range balance.Changes(ctx) {
//		fmt.Println(state.Status, state.Available, state.Escrow)
//	}
//
// A Client has one connection for all its balances and events. It connects again by itself.
//
// # Guarantees
//
// For each account the loop over Events gets every event after the position where it began, once and
// in order, also through reconnects and restarts of gateways. If events cannot be had any more, it
// gets an explicit Resync, whose balance replaces the state of the account. The client checks seq
// and chain of each event itself: it drops repeats, and after a hole or with a wrong chain it
// subscribes again from its position.
//
// A balance is loading until it is known, and never shown as zero meanwhile. While the connection is
// down it is stale: the amounts were true at StaleSince. Two exceptions: a filter makes holes that
// nobody can check, so there only the order is checked; and a subscription to "*" has no guarantee
// about missed events, but gets a Resync with EventsMissed after each interruption.
//
// # Slow readers
//
// Items wait for a slow loop over Events in a queue of Config.QueueSize. When it is full, the client
// unsubscribes, and subscribes again after the newest waiting item when half of the queue has been
// read. So a slow reader gets everything later, or a Resync if the history is not available any more.
// It never slows other readers down. Balances and states have no queue: a slow loop over Changes
// skips to the newest value.
//
// # The connection
//
// After a failure the client waits and connects again. The pause is random, up to a limit that
// doubles from 0.5 s to 20 s, and no limit but the first is longer than the failures have lasted. A
// connection that was live for 30 s resets it. A reconnect frame and
// Retry-After set the pause instead. When nothing was heard for the gateway's heartbeat and 10 s more,
// the client sends a ping, and without an answer within 5 s it connects again. A revoked token (4403),
// an administrator (4410) and ErrUnauthorized end the client for good: State says why, and all loops
// end with that error.
//
// # Tokens
//
// Config.Token is called for each connection, before a token expires, and after the gateway refused
// one. TokenReasonOf tells which. There is never more than one call at a time, and a result that is
// no longer wanted is dropped. SwitchUser continues as another user: everything of the user before
// ends first.
package client
