package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 4 << 10

// holdLife is how long a hold waits for its settlement.
const holdLife = 10 * time.Minute

// jar takes tips for a model.
type jar struct {
	ledger *client.Ledger
	model  string // bare id
}

// tip is the body of POST /tips.
type tip struct {
	ID     string `json:"id"`     // of the app's choice; a repeated tip has the same one
	User   string `json:"user"`   // bare id
	Amount int64  `json:"amount"` // points
}

// outcome is the answer of POST /tips.
type outcome struct {
	Available int64  `json:"available,omitempty"` // points that the user has left
	Missing   int64  `json:"missing,omitempty"`   // points that the user lacks
	Error     string `json:"error,omitempty"`
}

func (j *jar) serveTip(w http.ResponseWriter, r *http.Request) {
	var t tip
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&t)
	if err != nil || t.ID == "" {
		writeJSON(w, http.StatusBadRequest, outcome{Error: `the body must be {"id":"…","user":"…","amount":…}`})
		return
	}

	status, o := j.takeTip(r.Context(), t)
	writeJSON(w, status, o)
}

// takeTip holds the points of the user and settles them with the model.
func (j *jar) takeTip(ctx context.Context, t tip) (status int, o outcome) {
	held, err := j.ledger.Hold(ctx, client.Hold{
		Account:        "user:" + t.User,
		Amount:         t.Amount,
		Reason:         "tip",
		QueueItemID:    t.ID,
		FeatureType:    "tipjar",
		ExpiresIn:      holdLife,
		IdempotencyKey: t.ID,
	})
	if err != nil {
		return describeFailure(err)
	}
	// A real service would play the user's song here, and refund the hold if it cannot.
	_, err = j.ledger.Settle(ctx, client.Settle{
		EscrowID:       held.EscrowID,
		ModelID:        j.model,
		Amount:         t.Amount,
		Reason:         "tip",
		QueueItemID:    t.ID,
		IdempotencyKey: t.ID,
	})
	if err != nil {
		return describeFailure(err)
	}
	return http.StatusCreated, outcome{Available: held.Balances[0].Available}
}

// describeFailure returns what the app should know about an error of the ledger.
func describeFailure(err error) (status int, o outcome) {
	var problem *client.Problem
	var noAnswer *client.NoAnswerError
	switch {
	case errors.As(err, &noAnswer):
		slog.Warn("the core gave no answer", "error", err)
		return http.StatusServiceUnavailable, outcome{Error: "the tip may have been taken; repeat it with the same id"}
	case errors.Is(err, client.ErrInsufficientFunds) && errors.As(err, &problem):
		return http.StatusPaymentRequired, outcome{
			Available: problem.AvailableBalance,
			Missing:   problem.RequestedAmount - problem.AvailableBalance,
			Error:     "the user has too few points",
		}
	case errors.Is(err, client.ErrAccountNotFound):
		return http.StatusNotFound, outcome{Error: "the user has no points yet"}
	case errors.Is(err, client.ErrEscrowAlreadyProcessed):
		return http.StatusConflict, outcome{Error: "the tip has expired; send a new one with another id"}
	case errors.Is(err, client.ErrIdempotencyKeyReused):
		return http.StatusConflict, outcome{Error: "another tip has this id"}
	case errors.Is(err, client.ErrInvalidRequest) && errors.As(err, &problem):
		return http.StatusBadRequest, outcome{Error: problem.Detail}
	}
	slog.Error("the core refused a tip", "error", err) // the token lacks a scope, or the URL is wrong
	return http.StatusBadGateway, outcome{Error: "tips cannot be taken at the moment"}
}

func writeJSON(w http.ResponseWriter, status int, o outcome) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o) // an error means that the app has disconnected
}
