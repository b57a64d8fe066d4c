package client

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrorCode is the code of a Problem or an Error. As an error it matches all that have the code:
//
//	if errors.Is(err, client.ErrInsufficientFunds) { … }
type ErrorCode string

// The codes of problems.
const (
	ErrInvalidRequest         = ErrorCode("invalid_request")          // Problem.Errors names the fields
	ErrUnauthorized           = ErrorCode("unauthorized")             // the token is missing, invalid or expired
	ErrForbidden              = ErrorCode("forbidden")                // the token lacks the scope or the account
	ErrInsufficientFunds      = ErrorCode("insufficient_funds")       // Problem has the balance
	ErrAccountNotFound        = ErrorCode("account_not_found")        // the account has no entry yet
	ErrEscrowNotFound         = ErrorCode("escrow_not_found")         //
	ErrTransactionNotFound    = ErrorCode("transaction_not_found")    //
	ErrEscrowAlreadyProcessed = ErrorCode("escrow_already_processed") // Problem has the status
	ErrHistoryChanged         = ErrorCode("history_changed")          // the ledger went back; Problem.Next continues
	ErrIdempotencyKeyReused   = ErrorCode("idempotency_key_reused")   // another request had the key
	ErrAmountMismatch         = ErrorCode("amount_mismatch")          // Problem has the escrow's amount
	ErrRequestTooLarge        = ErrorCode("request_too_large")        // a body over 1 MiB, or metadata over 8 KiB
	ErrOverloaded             = ErrorCode("overloaded")               // nothing was done; retried
	ErrUnavailable            = ErrorCode("unavailable")              // the database cannot be written; retried
	ErrNotFound               = ErrorCode("not_found")                // the URL is not that of a core
	ErrInternal               = ErrorCode("internal")                 // the core's log has the cause
)

func (c ErrorCode) Error() string { return string(c) }

// Problem is the core's answer to a call that it did not perform (RFC 9457). Use errors.As to get
// one, or errors.Is with an ErrorCode.
type Problem struct {
	Type   string         `json:"type"` // a URN that ends in the code
	Title  string         `json:"title"`
	Status int            `json:"status"` // the HTTP status
	Detail string         `json:"detail"` // the explanation of this occurrence
	Code   ErrorCode      `json:"code"`
	Errors []FieldProblem `json:"errors,omitempty"` // the malformed fields of ErrInvalidRequest

	// Members of ErrInsufficientFunds. The balance is available for a user, and earned for a model.
	Account          string `json:"account,omitempty"`
	AccountID        string `json:"accountId,omitempty"`
	AccountType      string `json:"accountType,omitempty"`
	AvailableBalance int64  `json:"availableBalance,omitempty"`
	EarnedBalance    int64  `json:"earnedBalance,omitempty"`
	// RequestedAmount is a member of ErrInsufficientFunds and of ErrAmountMismatch.
	RequestedAmount int64 `json:"requestedAmount,omitempty"`
	// EscrowAmount is a member of ErrAmountMismatch.
	EscrowAmount int64 `json:"escrowAmount,omitempty"`
	// EscrowStatus is a member of ErrEscrowAlreadyProcessed.
	EscrowStatus string `json:"escrowStatus,omitempty"`
	// Next and Since are members of ErrHistoryChanged: the cursor from which to continue, and the time
	// from which on the events that were read may never have happened.
	Next  string    `json:"next,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// RetryAfterSeconds is a member of the problems ErrOverloaded and ErrUnavailable in a batch. A
	// single call has it from the Retry-After header.
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`

	// MayBeDone reports that an earlier attempt of the same call got no answer. If that attempt is
	// still on its way to the core, the operation may yet be done.
	MayBeDone bool `json:"-"`
}

// FieldProblem is the error of one field.
type FieldProblem struct {
	Pointer string `json:"pointer"` // a JSON pointer into the body; /account and so on for the path
	Detail  string `json:"detail"`  // the rule that the field must follow
}

func (p *Problem) Error() string {
	text := string(p.Code)
	if text == "" {
		text = "status " + strconv.Itoa(p.Status)
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// Is reports whether target is the problem's code.
func (p *Problem) Is(target error) bool {
	code, ok := target.(ErrorCode)
	return ok && code == p.Code
}

// retryAfter returns the least delay before the next attempt.
func (p *Problem) retryAfter() time.Duration {
	seconds := min(max(p.RetryAfterSeconds, 0), maxRetryAfterSeconds)
	return time.Duration(seconds) * time.Second
}

// NoAnswerError means that a call ended without a final answer: its retries were used up, or its
// context ended. Err has the last attempt's error.
type NoAnswerError struct {
	// Call names the call, such as "hold on user:u1".
	Call string
	// IdempotencyKeys has the key of the operation, or of each operation of a batch. It is empty for
	// a read.
	IdempotencyKeys []string
	// Attempts is the number of attempts that were made.
	Attempts int
	// MayBeDone reports whether an operation may have been done. If so, call again with the same
	// key: the answer tells, and nothing is done twice.
	MayBeDone bool
	// Err is a network error, a *Problem, or the error of the context or of the token function.
	Err error
}

func (e *NoAnswerError) Error() string {
	var text strings.Builder
	attempts := "attempts"
	if e.Attempts == 1 {
		attempts = "attempt"
	}
	fmt.Fprintf(&text, "client: %s: no final answer after %d %s: %v", e.Call, e.Attempts, attempts, e.Err)
	switch {
	case !e.MayBeDone:
	case len(e.IdempotencyKeys) == 1:
		fmt.Fprintf(&text, "; it may have been done: repeat it with IdempotencyKey %q to learn its result", e.IdempotencyKeys[0])
	default:
		text.WriteString("; operations may have been done: repeat them with the same idempotency keys to learn their results")
	}
	return text.String()
}

// Unwrap returns Err.
func (e *NoAnswerError) Unwrap() error { return e.Err }
