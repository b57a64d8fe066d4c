package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Largest sizes, in bytes.
const (
	MaxTextBytes = 255     // an id, a key, an account
	MaxTypeBytes = 128     // an event type
	maxDataBytes = 1 << 20 // a payload
	MaxNameBytes = 64      // the name of a group or a subscription
)

// ValidateEvents returns a copy of the events in which each event has an ID. The error is
// ErrInvalidEvent if an event is not valid.
func ValidateEvents(events []Event) ([]Event, error) {
	validated := make([]Event, len(events))
	for i := range events {
		e := &validated[i]
		*e = events[i]
		if e.ID == "" {
			e.ID = uuid.NewString()
		}

		err := validateEvent(e)
		if err != nil {
			return nil, fmt.Errorf("%w: event %d of %d: %w", ErrInvalidEvent, i+1, len(events), err)
		}
	}

	return validated, nil
}

func validateEvent(e *Event) error {
	switch {
	case !ValidText(e.ID):
		return fmt.Errorf("id must be 1 to %d visible ASCII characters", MaxTextBytes)
	case !ValidName(e.Type, MaxTypeBytes):
		return fmt.Errorf("type %.40q must be 1 to %d of a-z A-Z 0-9 . _ -", e.Type, MaxTypeBytes)
	case e.Account != "" && !ValidText(e.Account):
		return fmt.Errorf("account must be at most %d visible ASCII characters", MaxTextBytes)
	case e.Key != "" && !ValidText(e.Key):
		return fmt.Errorf("key must be at most %d visible ASCII characters", MaxTextBytes)
	case e.TraceParent != "" && !ValidText(e.TraceParent):
		return fmt.Errorf("traceparent must be at most %d visible ASCII characters", MaxTextBytes)
	case e.Seq != 0:
		return fmt.Errorf("seq must be 0, since only the ledger numbers events; got %d", e.Seq)
	case e.Amount < 0:
		return fmt.Errorf("amount must not be negative; got %d", e.Amount)
	case len(e.Reason) > MaxTextBytes:
		return fmt.Errorf("reason must be at most %d bytes", MaxTextBytes)
	case len(e.Feature) > MaxTextBytes:
		return fmt.Errorf("feature must be at most %d bytes", MaxTextBytes)
	case len(e.Data) > maxDataBytes:
		return fmt.Errorf("data must be at most %d bytes", maxDataBytes)
	case !ValidObject(e.Data):
		return fmt.Errorf("data must be a JSON object; got %.40q", e.Data)
	case HasLineBreak(e.Data):
		return errors.New("data must be JSON on one line, without line breaks")
	}

	return nil
}

// ValidObject reports whether data is a JSON object.
func ValidObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
}

// HasLineBreak reports whether a payload contains a line feed or a carriage return. Line breaks
// separate the frames of a WebSocket message and the fields of a server-sent event, so a payload
// that contains one could forge frames.
func HasLineBreak(payload []byte) bool {
	return bytes.IndexByte(payload, '\n') >= 0 || bytes.IndexByte(payload, '\r') >= 0
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

// ValidName reports whether s is 1 to maxLen of A-Z a-z 0-9 . _ -.
func ValidName(s string, maxLen int) bool {
	if s == "" || len(s) > maxLen {
		return false
	}

	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}

	return true
}

func isNameByte(c byte) bool {
	return isAlphanumeric(c) || c == '.' || c == '_' || c == '-'
}

// ValidateSubscription returns an error if the subscription is not valid.
func ValidateSubscription(s *Subscription) error {
	if !ValidName(s.ID, MaxNameBytes) {
		return fmt.Errorf("subscribe: id %.70q must be 1 to %d of A-Z a-z 0-9 . _ -", s.ID, MaxNameBytes)
	}

	if s.Handler == nil {
		return fmt.Errorf("subscribe %s: handler must not be nil", s.ID)
	}

	for _, t := range s.Types {
		if !ValidName(t, MaxTypeBytes) {
			return fmt.Errorf("subscribe %s: type %.40q must be 1 to %d of a-z A-Z 0-9 . _ -", s.ID, t, MaxTypeBytes)
		}
	}

	return nil
}
