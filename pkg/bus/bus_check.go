package bus

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

const (
	maxText = 255     // bytes of an id, a key, an account
	maxType = 128     // bytes of a type
	maxData = 1 << 20 // bytes of a payload
	maxName = 64      // bytes of a group's and a subscription's name
)

// checkEvents refuses what cannot be published and gives events without an id one.
// It works on a copy.
func checkEvents(events []Event) ([]Event, error) {
	checked := make([]Event, len(events))
	for i := range events {
		e := &checked[i]
		*e = events[i]
		if e.ID == "" {
			e.ID = uuid.NewString()
		}
		if err := checkEvent(e); err != nil {
			return nil, fmt.Errorf("%w: event %d of %d: %w", ErrInvalidEvent, i+1, len(events), err)
		}
	}
	return checked, nil
}

func checkEvent(e *Event) error {
	switch {
	case !visible(e.ID):
		return fmt.Errorf("its ID is not 1 to %d visible ASCII characters", maxText)
	case !word(e.Type, maxType):
		return fmt.Errorf("its Type %.40q is not 1 to %d of a-z A-Z 0-9 . _ -", e.Type, maxType)
	case e.Account != "" && !visible(e.Account):
		return fmt.Errorf("its Account is longer than %d characters, or not visible ASCII", maxText)
	case e.Key != "" && !visible(e.Key):
		return fmt.Errorf("its Key is longer than %d characters, or not visible ASCII", maxText)
	case e.TraceParent != "" && !visible(e.TraceParent):
		return fmt.Errorf("its TraceParent is longer than %d characters, or not visible ASCII", maxText)
	case e.Seq != 0:
		return fmt.Errorf("its Seq is %d: only the ledger numbers events", e.Seq)
	case e.Amount < 0:
		return fmt.Errorf("its Amount is %d: it has no sign", e.Amount)
	case len(e.Reason) > maxText || len(e.Feature) > maxText:
		return fmt.Errorf("its Reason or Feature is longer than %d bytes", maxText)
	case len(e.Data) > maxData:
		return fmt.Errorf("its Data is longer than %d bytes", maxData)
	case !object(e.Data):
		return fmt.Errorf("its Data is not a JSON object: %.40q", e.Data)
	}
	return nil
}

func object(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
}

func visible(s string) bool {
	if s == "" || len(s) > maxText {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// word tells whether s is 1 to n of A-Z a-z 0-9 . _ -.
func word(s string, n int) bool {
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

func checkSubscription(s *Subscription) error {
	if !word(s.ID, maxName) {
		return fmt.Errorf("subscribe: id %.70q is not 1 to %d of A-Z a-z 0-9 . _ -", s.ID, maxName)
	}
	if s.Handler == nil {
		return fmt.Errorf("subscribe %s: Handler is nil", s.ID)
	}
	for _, t := range s.Types {
		if !word(t, maxType) {
			return fmt.Errorf("subscribe %s: type %.40q is not 1 to %d of a-z A-Z 0-9 . _ -", s.ID, t, maxType)
		}
	}
	return nil
}
