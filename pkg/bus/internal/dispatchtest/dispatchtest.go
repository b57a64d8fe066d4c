// Package dispatchtest helps tests of buses. A handler that waits also holds up the other accounts of
// its worker, and the workers of accounts differ between processes.
package dispatchtest

import (
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
)

// Accounts returns n accounts that different workers handle, with the default of bus.Config.Concurrency.
func Accounts(n int) []string {
	workers := bus.Config{}.WithDefaults().Concurrency
	taken := map[int]bool{}
	var accounts []string
	for i := 0; len(accounts) < n; i++ {
		account := fmt.Sprint("user:u", i)
		worker := dispatch.WorkerOf(account, workers)
		if !taken[worker] {
			taken[worker] = true
			accounts = append(accounts, account)
		}
	}
	return accounts
}
