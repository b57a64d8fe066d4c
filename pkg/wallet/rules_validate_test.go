package wallet

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMetadataNesting(t *testing.T) {
	nestObjects := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
	}
	for name, tc := range map[string]struct {
		metadata string
		isValid  bool
	}{
		"16 objects":         {nestObjects(16), true},
		"17 objects":         {nestObjects(17), false},
		"16 levels":          {`{"a":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`, true},
		"17 levels":          {`{"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`, false},
		"17 levels later":    {`{"a":{},"b":` + nestObjects(16) + `}`, false},
		"many shallow":       {`{"a":[` + strings.Repeat(`{},`, 1_000) + `{}]}`, true},
		"brackets in a text": {`{"a":"` + strings.Repeat("[", 1_000) + `"}`, true},
		"1,000 levels":       {nestObjects(1_000), false},
		"without end":        {strings.Repeat("[", 8_000), false},
	} {
		t.Run(name, func(t *testing.T) {
			op := Op{
				Operation:      OpCredit,
				IdempotencyKey: "k",
				Account:        "user:u1",
				Amount:         1,
				Reason:         "admin_credit",
				Metadata:       json.RawMessage(tc.metadata),
			}
			err := op.Validate()
			if tc.isValid {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}

			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			want := FieldError{Pointer: "/metadata", Detail: "metadata must nest at most 16 levels deep"}
			if !slices.Equal(invalid.Fields, []FieldError{want}) {
				t.Errorf("got %v, want %v", invalid.Fields, want)
			}
		})
	}
}
