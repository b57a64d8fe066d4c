package wallet

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lib/pq"
)

// What a database says while it starts, stops, is full or is a replica, until the other one is
// promoted, is an outage and no mistake of an operation.
func TestOutagesAreRetried(t *testing.T) {
	retried := []*pq.Error{
		{Code: "57P01"}, {Code: "57P03"}, {Code: "57014"}, {Code: "53300"}, {Code: "53100"}, {Code: "08006"}, {Code: "40001"}, {Code: "40P01"},
		{Code: "55P03"}, {Code: "25P03"},
		{Code: "25006"}, // an INSERT on a replica
		{Code: "0A000"}, // a transaction that is to write, begun on a replica
	}
	for _, err := range retried {
		if !isRetryable(fmt.Errorf("write: %w", err)) {
			t.Errorf("%s is no outage", err.Code)
		}
	}
	closed := []*pq.Error{{Code: "55000"}, {Code: "28P01"}, {Code: "28000"}, {Code: "3D000"}}
	for _, err := range closed {
		if !isRetryable(fmt.Errorf("begin: %w: %w", errConnect, err)) {
			t.Errorf("%s on connecting is no outage", err.Code)
		}
	}
	for _, err := range append(closed, &pq.Error{Code: "23514"}, &pq.Error{Code: "22003"}, &pq.Error{Code: "42P01"}, &pq.Error{Code: "XX000"}) {
		if isRetryable(fmt.Errorf("write: %w", err)) {
			t.Errorf("%s is retried", err.Code)
		}
	}
	if isRetryable(errors.New("none of the database's")) {
		t.Error("an unknown error is retried")
	}
}
