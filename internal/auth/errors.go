package auth

import "errors"

// ErrInvalid is the error of every refused token.
var ErrInvalid = errors.New("token is not valid")

// ErrUnavailable is the error of a token that cannot be verified, because no keys could be fetched
// from the JWKS URL yet. The token may be valid: its bearer should try again.
var ErrUnavailable = errors.New("the keys that verify tokens are not available at the moment; try again later")

// RetryAfterSeconds is how long a bearer should wait after ErrUnavailable.
const RetryAfterSeconds = 10

// refusal is an ErrInvalid with a reason. The reason is a constant of this package and never part
// of the token.
type refusal string

func newRefusal(reason string) error { return refusal(reason) }

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrInvalid }

// Reason returns a sentence about err that may be shown to the bearer.
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
