package coreapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The request bodies. Tags beside json describe them in the OpenAPI document;
// the rules themselves are the ledger's (wallet.Op.Check).

type creditBody struct {
	Amount        int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"500" doc:"Whole points. 1.0, 1e3 and \"1\" are refused."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"promotional_award" doc:"Why, as a structured code."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB; kept with the ledger entries and sent with the events."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Ties the operation to something of yours; kept with the ledger entries and sent with the events. When absent, the header traceparent stands in."`
}

type holdBody struct {
	Amount           int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"100" doc:"Whole points. 1.0, 1e3 and \"1\" are refused."`
	Reason           string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"chip_menu_purchase" doc:"Why, as a structured code."`
	QueueItemID      string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue's item that the points are held for."`
	FeatureType      string `json:"featureType" minLength:"1" maxLength:"64" example:"chip_menu" doc:"The feature that asks."`
	ExpiresInSeconds *int64 `json:"expiresInSeconds,omitempty" minimum:"1" maximum:"31536000" example:"3600" doc:"When the core refunds the hold by itself, with reason rope_drop_timeout. Absent: never."`
	Metadata         object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB; kept with the ledger entries and sent with the events."`
	CorrelationID    string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Ties the operation to something of yours. When absent, the header traceparent stands in."`
}

type settleBody struct {
	ModelID       string `json:"modelId" example:"model:m1" doc:"Who earns: model:<id>, or the bare <id>."`
	Amount        int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"100" doc:"The escrow's amount, all of it."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"performance_completed" doc:"Why, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue's item that ends the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"When absent, the header traceparent stands in."`
}

type refundBody struct {
	Amount        int64  `json:"amount" minimum:"1" maximum:"9007199254740991" example:"100" doc:"The escrow's amount, all of it."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"performance_abandoned" doc:"Why, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue's item that ends the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"When absent, the header traceparent stands in."`
}

type partialSettleBody struct {
	ModelID       string `json:"modelId" example:"model:m1" doc:"Who earns: model:<id>, or the bare <id>."`
	RefundAmount  int64  `json:"refundAmount" minimum:"1" maximum:"9007199254740991" example:"40" doc:"What goes back to the user. With settleAmount it adds up to the escrow's amount."`
	SettleAmount  int64  `json:"settleAmount" minimum:"1" maximum:"9007199254740991" example:"60" doc:"What the model earns."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"partial_performance" doc:"Why, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue's item that ends the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"When absent, the header traceparent stands in."`
}

// Each body fills in its part of the operation.

func (b *creditBody) fill(op *wallet.Op) {
	op.Amount, op.Reason = b.Amount, b.Reason
	common(op, b.Metadata, b.CorrelationID)
}

func (b *holdBody) fill(op *wallet.Op) {
	op.Amount, op.Reason = b.Amount, b.Reason
	op.QueueItemID, op.FeatureType = b.QueueItemID, b.FeatureType
	if b.ExpiresInSeconds != nil {
		op.ExpiresIn = seconds(*b.ExpiresInSeconds)
	}
	common(op, b.Metadata, b.CorrelationID)
}

func (b *settleBody) fill(op *wallet.Op) {
	op.Model, op.Amount, op.Reason, op.QueueItemID = model(b.ModelID), b.Amount, b.Reason, b.QueueItemID
	common(op, b.Metadata, b.CorrelationID)
}

func (b *refundBody) fill(op *wallet.Op) {
	op.Amount, op.Reason, op.QueueItemID = b.Amount, b.Reason, b.QueueItemID
	common(op, b.Metadata, b.CorrelationID)
}

func (b *partialSettleBody) fill(op *wallet.Op) {
	op.Model, op.Reason, op.QueueItemID = model(b.ModelID), b.Reason, b.QueueItemID
	op.RefundAmount, op.SettleAmount = b.RefundAmount, b.SettleAmount
	common(op, b.Metadata, b.CorrelationID)
}

// common sets what all bodies have.
func common(op *wallet.Op, metadata object, correlationID string) {
	op.Metadata, op.CorrelationID = json.RawMessage(metadata), correlationID
}

var errMetadataTooLarge = fmt.Errorf("%w: metadata has more than %d bytes", wallet.ErrTooLarge, wallet.MaxMetadata)

// object is a JSON object as it came. null is an absent one.
type object []byte

// UnmarshalJSONFrom takes any JSON value; whether it is an object is the
// ledger's rule. What is nested too deeply to be read has too many bytes, too.
func (o *object) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	begin := dec.InputOffset()
	v, err := dec.ReadValue()
	if err != nil {
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) && syntax.ByteOffset-begin > wallet.MaxMetadata {
			return errMetadataTooLarge
		}
		return err
	}
	if v.Kind() != 'n' {
		*o = append([]byte(nil), v...)
	}
	return nil
}

// Schema describes it in the OpenAPI document.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Examples: []any{map[string]any{"campaign": "spring"}},
	}
}

// model takes the account or the bare id of a creator.
func model(id string) wallet.Account {
	if id == "" || strings.Contains(id, ":") {
		return wallet.Account(id)
	}
	return wallet.Account("model:" + id)
}

// seconds turns what cannot be a duration, and the zero that would mean never,
// into a duration that the ledger refuses.
func seconds(n int64) time.Duration {
	if n < 1 || n > 1<<31 {
		return -time.Second
	}
	return time.Duration(n) * time.Second
}

// parseEscrow reads an escrow's or transaction's id. Only the usual form is
// taken: one thing has one name.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}
