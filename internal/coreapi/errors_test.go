package coreapi

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

func TestDetailSaysOnlyWhatTheTitleDoesNot(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"scope":       {fmt.Errorf("%w: the token must have the scope wallet:credit", errForbidden), "the token must have the scope wallet:credit"},
		"token":       {fmt.Errorf("%w: the token must be a well-formed JWT", errUnauthorized), "the token must be a well-formed JWT"},
		"account":     {fmt.Errorf("read balance: %w", wallet.ErrAccountNotFound), detailNoAccount},
		"escrow":      {fmt.Errorf("read escrow: %w", wallet.ErrEscrowNotFound), detailNoEscrow},
		"transaction": {fmt.Errorf("read transaction: %w", wallet.ErrTransactionNotFound), detailNoTransaction},
	} {
		t.Run(name, func(t *testing.T) {
			got := DescribeError(tc.err).Detail
			if got != tc.want {
				t.Errorf("detail: got %q, want %q", got, tc.want)
			}
		})
	}
}
