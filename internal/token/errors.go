package token

import "errors"

// ErrInvalid is what every refused token's error is.
var ErrInvalid = errors.New("token is not valid")

// refusal is an ErrInvalid with a reason. The reason is a constant of this
// package, never a part of the token.
type refusal string

func invalid(reason string) error { return refusal(reason) }

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrInvalid }

// Reason is a sentence about err that may be shown to the bearer.
func Reason(err error) string {
	var r refusal
	if errors.As(err, &r) {
		return string(r)
	}
	return ErrInvalid.Error()
}
