package coreapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// escrowShape is an escrow in an answer. Optional members are absent, never null or "".
type escrowShape struct {
	EscrowID           uuid.UUID `json:"escrowId" format:"uuid"`
	UserID             string    `json:"userId" example:"u1" doc:"The bare id of the user whose points are held."`
	Amount             int64     `json:"amount" example:"100"`
	Status             string    `json:"status" enum:"held,settled,refunded,partially_settled"`
	Reason             string    `json:"reason" example:"chip_menu_purchase" doc:"The reason of the hold."`
	QueueItemID        string    `json:"queueItemId" example:"queue-1"`
	FeatureType        string    `json:"featureType" example:"chip_menu"`
	CreatedAt          string    `json:"createdAt" format:"date-time"`
	ExpiresAt          string    `json:"expiresAt,omitempty" format:"date-time"`
	ClosedAt           string    `json:"closedAt,omitempty" format:"date-time"`
	ModelID            string    `json:"modelId,omitempty" example:"m1" doc:"The bare id of the model that earned the points."`
	RefundAmount       int64     `json:"refundAmount,omitempty" example:"40" doc:"The points that were returned to the user."`
	SettleAmount       int64     `json:"settleAmount,omitempty" example:"60" doc:"The points that the model earned."`
	HoldTransactionID  uuid.UUID `json:"holdTransactionId" format:"uuid"`
	CloseTransactionID string    `json:"closeTransactionId,omitempty" format:"uuid"`
}

func newEscrowShape(e *wallet.Escrow) escrowShape {
	return escrowShape{
		EscrowID:           e.ID,
		UserID:             e.User.ID(),
		Amount:             e.Amount,
		Status:             string(e.Status),
		Reason:             e.Reason,
		QueueItemID:        e.QueueItemID,
		FeatureType:        e.FeatureType,
		CreatedAt:          formatTime(e.CreatedAt),
		ExpiresAt:          optionalTime(e.ExpiresAt),
		ClosedAt:           optionalTime(e.ClosedAt),
		ModelID:            e.Model.ID(),
		RefundAmount:       e.RefundAmount,
		SettleAmount:       e.SettleAmount,
		HoldTransactionID:  e.HeldBy,
		CloseTransactionID: optionalID(e.ClosedBy),
	}
}

var escrowDoc = queryDoc{
	id:          "get-escrow",
	path:        "/v1/escrows/{escrowId}",
	summary:     "An escrow",
	description: "A token may read an escrow if one of its accounts is the escrow's user or model.",
	readers:     ownAccount,
	answer:      escrowShape{},
	notFound:    "escrow_not_found",
	params:      []param{escrowParam},
}

// getEscrow serves GET /v1/escrows/{escrowId}. The query returns the accounts of the escrow, so the
// check of the token follows it. A token without accounts is refused before the query.
func getEscrow(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	if len(c.claims.Accounts) == 0 {
		err := c.requireScope(auth.ScopeRead)
		if err != nil {
			return err
		}
	}

	id, err := c.escrowID()
	if err != nil {
		return err
	}
	_, err = c.readQuery()
	if err != nil {
		return err
	}

	var escrow wallet.Escrow
	err = c.readLedger(func(ctx context.Context) (err error) {
		escrow, err = c.api.ledger.Escrow(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	err = c.requireReadable(string(escrow.User), string(escrow.Model))
	if err != nil {
		return err
	}

	return c.writeValue(newEscrowShape(&escrow))
}
