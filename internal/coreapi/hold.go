package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// holdBody is the body of a hold. wallet.Op.Validate validates it.
type holdBody struct {
	Amount           int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"100" doc:"Whole points. 1.0, 1e3 and \"1\" are refused."`
	Reason           string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"chip_menu_purchase" doc:"The reason, as a structured code."`
	QueueItemID      string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue item that the points are held for."`
	FeatureType      string `json:"featureType" minLength:"1" maxLength:"64" example:"chip_menu" doc:"The feature that requests the hold."`
	ExpiresInSeconds *int64 `json:"expiresInSeconds,omitempty" minimum:"1" maximum:"31536000" example:"3600" doc:"The core refunds the hold after this time, with the reason rope_drop_timeout. By default the hold does not expire."`
	Metadata         object `json:"metadata,omitempty" doc:"Any JSON object of at most 8 KiB that nests at most 16 levels deep. It is stored with the ledger entries and sent with the events."`
	CorrelationID    string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Your own reference for the operation. The default is the traceparent header."`
}

var holdDoc = operationDoc{
	id:          "hold",
	path:        "/v1/accounts/{account}/holds",
	scope:       auth.ScopeHold,
	summary:     "Hold a user's points in escrow",
	description: "Moves points from a user's available balance into a new escrow. The account must be a user.",
	status:      http.StatusCreated,
	body:        holdBody{},
	target:      userParam,
	refusals:    fundsRefusals,
}

// holdPoints serves POST /v1/accounts/{account}/holds.
func holdPoints(c *call) error {
	var body holdBody
	headers, err := c.readOperation(auth.ScopeHold, &body)
	if err != nil {
		return err
	}

	receipt, err := c.commitOperation(&wallet.Op{
		Operation:      wallet.OpHold,
		IdempotencyKey: headers.idempotencyKey,
		Account:        c.accountToChange(),
		Amount:         body.Amount,
		Reason:         body.Reason,
		QueueItemID:    body.QueueItemID,
		FeatureType:    body.FeatureType,
		ExpiresIn:      holdDuration(body.ExpiresInSeconds),
		Metadata:       body.Metadata.rawJSON(),
		CorrelationID:  body.CorrelationID,
		RequestID:      headers.requestID,
		TraceParent:    headers.traceParent,
	})
	if err != nil {
		return err
	}

	c.writeReceipt(http.StatusCreated, &receipt)
	return nil
}
