package wallet

import (
	"errors"
	"fmt"
	"time"
)

// The errors that the ledger returns. An error with data has its own type. errors.Is reports that it
// matches the error in this list.
var (
	// ErrInvalid means that the request is malformed. It is an *InvalidError.
	ErrInvalid = errors.New("invalid request")

	// ErrInsufficientFunds means that the account has too few points. It is an
	// *InsufficientFundsError.
	ErrInsufficientFunds = errors.New("insufficient funds")

	ErrAccountNotFound     = errors.New("account not found")
	ErrEscrowNotFound      = errors.New("escrow not found")
	ErrTransactionNotFound = errors.New("transaction not found")

	// ErrEscrowProcessed means that the escrow was closed before. It is an *EscrowProcessedError.
	ErrEscrowProcessed = errors.New("escrow already processed")

	// ErrKeyReused means that another request of the same operation used the idempotency key.
	ErrKeyReused = errors.New("idempotency key reused")

	// ErrAmountMismatch means that the amounts do not sum to the escrow's amount. It is an
	// *AmountMismatchError.
	ErrAmountMismatch = errors.New("amount mismatch")

	// ErrTooLarge means that the metadata has more than MaxMetadata bytes.
	ErrTooLarge = errors.New("request too large")

	// ErrHistoryChanged means that the ledger went back to an earlier time: it does not have the
	// transaction of the cursor any more. It is a *HistoryChangedError.
	ErrHistoryChanged = errors.New("history changed")

	// ErrOverloaded means that the queue is full. The operation was not done.
	ErrOverloaded = errors.New("overloaded")

	// ErrUnavailable means that the database did not answer in time, or that the ledger is stopping.
	// The operation may have been done. A retry with the same idempotency key returns its result.
	ErrUnavailable = errors.New("ledger database unavailable")
)

// FieldError describes one malformed field. Pointer is a JSON pointer (RFC 6901) into the request.
// Detail says what must be true.
type FieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// InvalidError lists the malformed fields of a request. It matches ErrInvalid.
type InvalidError struct{ Fields []FieldError }

func invalidField(pointer, detail string) *InvalidError {
	field := FieldError{
		Pointer: pointer,
		Detail:  detail,
	}
	return &InvalidError{Fields: []FieldError{field}}
}

func (e *InvalidError) Error() string {
	if len(e.Fields) == 0 {
		return ErrInvalid.Error()
	}

	first := e.Fields[0]
	return fmt.Sprintf("%v: %s: %s", ErrInvalid, first.Pointer, first.Detail)
}

// Is reports whether target is ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// InsufficientFundsError reports how many points the account has. It matches ErrInsufficientFunds.
type InsufficientFundsError struct {
	Account   Account
	Available int64 // a user's available points, or a model's earned points
	Requested int64
}

func (e *InsufficientFundsError) Error() string {
	return fmt.Sprintf("%v: %s has %d points, %d were requested", ErrInsufficientFunds, e.Account, e.Available, e.Requested)
}

// Is reports whether target is ErrInsufficientFunds.
func (e *InsufficientFundsError) Is(target error) bool { return target == ErrInsufficientFunds }

// EscrowProcessedError reports the status of an escrow that was closed before. It matches
// ErrEscrowProcessed.
type EscrowProcessedError struct{ Status EscrowStatus }

func (e *EscrowProcessedError) Error() string {
	return fmt.Sprintf("%v: the escrow is %s", ErrEscrowProcessed, e.Status)
}

// Is reports whether target is ErrEscrowProcessed.
func (e *EscrowProcessedError) Is(target error) bool { return target == ErrEscrowProcessed }

// AmountMismatchError reports the escrow's amount and the requested sum. It matches
// ErrAmountMismatch.
type AmountMismatchError struct {
	EscrowAmount int64
	Requested    int64
}

func (e *AmountMismatchError) Error() string {
	return fmt.Sprintf("%v: the escrow holds %d points, %d were requested", ErrAmountMismatch, e.EscrowAmount, e.Requested)
}

// Is reports whether target is ErrAmountMismatch.
func (e *AmountMismatchError) Is(target error) bool { return target == ErrAmountMismatch }

// HistoryChangedError has the cursor from which a reader of all events must go on after the ledger
// went back. It matches ErrHistoryChanged.
type HistoryChangedError struct {
	// Next is before all events that the reader does not have. It may be before some that it has.
	Next string
	// Since is the time from which on the events that the reader has may never have happened.
	Since time.Time
}

func (e *HistoryChangedError) Error() string {
	return fmt.Sprintf("%v: the ledger does not have the cursor's transaction of %s", ErrHistoryChanged, e.Since.Format(time.RFC3339Nano))
}

// Is reports whether target is ErrHistoryChanged.
func (e *HistoryChangedError) Is(target error) bool { return target == ErrHistoryChanged }
