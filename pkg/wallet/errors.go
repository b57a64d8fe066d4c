package wallet

import (
	"errors"
	"fmt"
)

// The errors that callers tell apart. A refusal with data has a type of its own, which matches its
// error here under errors.Is.
var (
	ErrInvalid             = errors.New("invalid request")             // an *InvalidError
	ErrInsufficientFunds   = errors.New("insufficient funds")          // an *InsufficientFundsError
	ErrAccountNotFound     = errors.New("account not found")           //
	ErrEscrowNotFound      = errors.New("escrow not found")            //
	ErrTransactionNotFound = errors.New("transaction not found")       //
	ErrEscrowProcessed     = errors.New("escrow already processed")    // an *EscrowProcessedError
	ErrKeyReused           = errors.New("idempotency key reused")      // same operation and key, other request
	ErrAmountMismatch      = errors.New("amount mismatch")             // an *AmountMismatchError
	ErrTooLarge            = errors.New("request too large")           // metadata over MaxMetadata bytes
	ErrOverloaded          = errors.New("overloaded")                  // the queue is full; nothing was done
	ErrUnavailable         = errors.New("ledger database unavailable") // a retry with the same key returns the result
)

// A FieldError says what is wrong with one field. Pointer is a JSON pointer (RFC 6901) into the
// request.
type FieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// InvalidError lists the fields that are malformed. It matches ErrInvalid.
type InvalidError struct{ Fields []FieldError }

func invalidField(pointer, detail string) *InvalidError {
	return &InvalidError{Fields: []FieldError{{pointer, detail}}}
}

func (e *InvalidError) Error() string {
	if len(e.Fields) == 0 {
		return ErrInvalid.Error()
	}
	first := e.Fields[0]
	return fmt.Sprintf("%v: %s: %s", ErrInvalid, first.Pointer, first.Detail)
}

// Is makes it match ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// InsufficientFundsError has the points that the account has. It matches ErrInsufficientFunds.
type InsufficientFundsError struct {
	Account   Account
	Available int64 // the user's available or the model's earned points
	Requested int64
}

func (e *InsufficientFundsError) Error() string {
	return fmt.Sprintf("%v: %s has %d points, %d were requested", ErrInsufficientFunds, e.Account, e.Available, e.Requested)
}

// Is makes it match ErrInsufficientFunds.
func (e *InsufficientFundsError) Is(target error) bool { return target == ErrInsufficientFunds }

// EscrowProcessedError has the status of an escrow that was closed before. It matches
// ErrEscrowProcessed.
type EscrowProcessedError struct{ Status EscrowStatus }

func (e *EscrowProcessedError) Error() string {
	return fmt.Sprintf("%v: it is %s", ErrEscrowProcessed, e.Status)
}

// Is makes it match ErrEscrowProcessed.
func (e *EscrowProcessedError) Is(target error) bool { return target == ErrEscrowProcessed }

// AmountMismatchError has the escrow's amount. It matches ErrAmountMismatch.
type AmountMismatchError struct{ EscrowAmount, Requested int64 }

func (e *AmountMismatchError) Error() string {
	return fmt.Sprintf("%v: the escrow holds %d points, %d were requested", ErrAmountMismatch, e.EscrowAmount, e.Requested)
}

// Is makes it match ErrAmountMismatch.
func (e *AmountMismatchError) Is(target error) bool { return target == ErrAmountMismatch }
