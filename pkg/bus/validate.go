package bus

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// The sizes of an event's fields.
const (
	MaxTextBytes = 255     // bytes of an id, a key, an account
	MaxTypeBytes = 128     // bytes of a type
	maxData      = 1 << 20 // bytes of a payload
	MaxNameBytes = 64      // bytes of a group's and a subscription's name
)

// ValidateEvents refuses what cannot be published and gives events without an id one.
// It works on a copy.
func ValidateEvents(events []Event) ([]Event, error) {
	checked := make([]Event, len(events))
	for i := range events {
		e := &checked[i]
		*e = events[i]
		if e.ID == "" {
			e.ID = uuid.NewString()
		}
		if err := validateEvent(e); err != nil {
			return nil, fmt.Errorf("%w: event %d of %d: %w", ErrInvalidEvent, i+1, len(events), err)
		}
	}
	return checked, nil
}

func validateEvent(e *Event) error {
	switch {
	case !ValidText(e.ID):
		return fmt.Errorf("its ID is not 1 to %d visible ASCII characters", MaxTextBytes)
	case !ValidName(e.Type, MaxTypeBytes):
		return fmt.Errorf("its Type %.40q is not 1 to %d of a-z A-Z 0-9 . _ -", e.Type, MaxTypeBytes)
	case e.Account != "" && !ValidText(e.Account):
		return fmt.Errorf("its Account is longer than %d characters, or not visible ASCII", MaxTextBytes)
	case e.Key != "" && !ValidText(e.Key):
		return fmt.Errorf("its Key is longer than %d characters, or not visible ASCII", MaxTextBytes)
	case e.TraceParent != "" && !ValidText(e.TraceParent):
		return fmt.Errorf("its TraceParent is longer than %d characters, or not visible ASCII", MaxTextBytes)
	case e.Seq != 0:
		return fmt.Errorf("its Seq is %d: only the ledger numbers events", e.Seq)
	case e.Amount < 0:
		return fmt.Errorf("its Amount is %d: it has no sign", e.Amount)
	case len(e.Reason) > MaxTextBytes || len(e.Feature) > MaxTextBytes:
		return fmt.Errorf("its Reason or Feature is longer than %d bytes", MaxTextBytes)
	case len(e.Data) > maxData:
		return fmt.Errorf("its Data is longer than %d bytes", maxData)
	case !ValidObject(e.Data):
		return fmt.Errorf("its Data is not a JSON object: %.40q", e.Data)
	}
	return nil
}

// ValidObject reports whether data is a JSON object.
func ValidObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
}

// ValidText reports whether s is 1 to MaxTextBytes visible ASCII characters.
func ValidText(s string) bool {
	if s == "" || len(s) > MaxTextBytes {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ValidName tells whether s is 1 to n of A-Z a-z 0-9 . _ -.
func ValidName(s string, n int) bool {
	if s == "" || len(s) > n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidateSubscription returns an error that says what the subscription lacks, or nil.
func ValidateSubscription(s *Subscription) error {
	if !ValidName(s.ID, MaxNameBytes) {
		return fmt.Errorf("subscribe: id %.70q is not 1 to %d of A-Z a-z 0-9 . _ -", s.ID, MaxNameBytes)
	}
	if s.Handler == nil {
		return fmt.Errorf("subscribe %s: Handler is nil", s.ID)
	}
	for _, t := range s.Types {
		if !ValidName(t, MaxTypeBytes) {
			return fmt.Errorf("subscribe %s: type %.40q is not 1 to %d of a-z A-Z 0-9 . _ -", s.ID, t, MaxTypeBytes)
		}
	}
	return nil
}
