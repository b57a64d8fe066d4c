// Package client follows balances and events of a gateway.
//
//	c, err := client.Dial(ctx, "wss://gateway.example.com/v1/ws", client.Config{Token: getToken})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//
//	for item, err := range c.Events(ctx, client.Filter{Accounts: []string{"user:u1"}}) {
//		if err != nil {
//			return err
//		}
//		if item.Resync != nil {
//			replaceState(item.Resync.Balance)
//			continue
//		}
//		switch e := item.Event.(type) {
//		case *client.EscrowHeld:
//			fmt.Println("held", e.Amount)
//		case *client.BalanceUpdated:
//			fmt.Println(e.BalanceState, e.BalanceAfter)
//		}
//	}
package client
