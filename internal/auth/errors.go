package auth

import "errors"

// ErrInvalid is what every refused token's error is.
var ErrInvalid = errors.New("token is not valid")

// ErrUnavailable is the error of a token that cannot be judged, since the JWKS URL
// has given no keys yet. It may be good: its bearer should try again.
var ErrUnavailable = errors.New("the keys that verify tokens cannot be had at the moment; try again later")

// RetryAfterSeconds is when to try again after ErrUnavailable.
const RetryAfterSeconds = 10

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
	if errors.Is(err, ErrUnavailable) {
		return ErrUnavailable.Error()
	}
	return ErrInvalid.Error()
}
