package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
)

// holdRequest is the body of a request.
type holdRequest struct {
	Amount        int64           `json:"amount"`
	Reason        string          `json:"reason"`
	QueueItemID   string          `json:"queueItemId"`
	FeatureType   string          `json:"featureType"`
	Metadata      json.RawMessage `json:"metadata,omitempty"`
	CorrelationID string          `json:"correlationId,omitempty"`
}

// receipt is the body of an answer.
type receipt struct {
	TransactionID uuid.UUID `json:"transactionId"`
	Operation     string    `json:"operation"`
	EscrowID      uuid.UUID `json:"escrowId"`
	Amount        int64     `json:"amount"`
	Timestamp     string    `json:"timestamp"`
	Balances      []balance `json:"balances"`
}

type balance struct {
	Account     string `json:"account"`
	AccountID   string `json:"accountId"`
	AccountType string `json:"accountType"`
	Available   int64  `json:"availableBalance"`
	Escrow      int64  `json:"escrowBalance"`
	Currency    string `json:"currency"`
	Seq         int64  `json:"seq"`
	LastUpdated string `json:"lastUpdated"`
}

// holdHandler handles POST /v1/accounts/{account}/holds.
type holdHandler struct {
	ledger   *ledger
	verifier *auth.Verifier
}

func (h *holdHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	claims, err := h.verifier.Verify(r.Context(), auth.FromHeader(r.Header))
	if err != nil || !claims.Has(auth.ScopeHold) {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}

	var body holdRequest
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	key := r.Header.Get("Idempotency-Key")
	if key == "" || body.Amount < 1 || body.QueueItemID == "" {
		http.Error(w, "invalid request", http.StatusBadRequest)
		return
	}

	requestID := r.Header.Get("X-Request-Id")
	if requestID == "" {
		requestID = uuid.NewString()
	}

	w.Header().Set("X-Request-Id", requestID)

	out, err := h.ledger.createHold(r.Context(), r.PathValue("account"), key, requestID, &body)
	switch {
	case errors.Is(err, errKeyUsed):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, errInsufficientFunds):
		http.Error(w, err.Error(), http.StatusPaymentRequired)
	case errors.Is(err, context.Canceled):
	case err != nil:
		fmt.Fprintln(os.Stderr, "hold:", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	default:
		answer, _ := json.Marshal(out) // cannot fail for these types
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(answer)
	}
}
