// Package rawclient speaks the protocol wallet.v1 for tests that must see the frames of a gateway
// themselves. It splits messages into frames and decodes them, and does nothing by itself: it does
// not resume, reconnect, filter or repair. An app uses pkg/client.
package rawclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redroomrewards/realtime/pkg/client"
)

// Frame is a frame of a gateway. A member that the frame lacks is empty.
type Frame struct {
	Op       string          `json:"op"`
	Sub      string          `json:"sub"`
	Account  string          `json:"account"`
	Seq      int64           `json:"seq"`
	Chain    string          `json:"chain"`
	Event    json.RawMessage `json:"event"`
	Snapshot *client.Balance `json:"snapshot"`
	Reason   string          `json:"reason"`
	Code     json.RawMessage `json:"code"` // a text in error, a number in closed
	Message  string          `json:"message"`
	Accounts []Subscribed    `json:"accounts"`

	Text []byte `json:"-"` // the frame as it came
}

// Subscribed is an account in the frame subscribed.
type Subscribed struct {
	Account   string          `json:"account"`
	Seq       int64           `json:"seq"`
	Chain     string          `json:"chain"`
	Recovered bool            `json:"recovered"`
	Snapshot  *client.Balance `json:"snapshot"`
}

// ErrBadFrame means that a frame is malformed.
var ErrBadFrame = errors.New("malformed frame")

// ParseFrame decodes a frame.
func ParseFrame(text []byte) (Frame, error) {
	f := Frame{Text: text}
	err := json.Unmarshal(text, &f)
	if err != nil {
		return Frame{}, fmt.Errorf("%w: %w: %.300s", ErrBadFrame, err, text)
	}
	return f, nil
}

// HasCode reports whether an error frame has the code.
func (f *Frame) HasCode(code string) bool { return strings.Trim(string(f.Code), `"`) == code }

// String returns at most the first 300 bytes of the frame.
func (f *Frame) String() string { return fmt.Sprintf("%.300s", f.Text) }

// Subscribe is the frame that opens a subscription.
type Subscribe struct {
	Sub      string            `json:"sub"`
	Accounts []string          `json:"accounts,omitempty"` // nil: the accounts of the token
	Types    []string          `json:"types,omitempty"`    // nil: all events
	After    map[string]int64  `json:"after,omitempty"`
	Chain    map[string]string `json:"chain,omitempty"`
}

// Resume makes the subscription continue after a position. An empty chain is left out.
func (s *Subscribe) Resume(account string, seq int64, chain string) {
	if s.After == nil {
		s.After = map[string]int64{}
		s.Chain = map[string]string{}
	}
	s.After[account] = seq
	if chain != "" {
		s.Chain[account] = chain
	}
}

// MarshalJSON adds the member op.
func (s Subscribe) MarshalJSON() ([]byte, error) {
	type plain Subscribe // without this method
	return json.Marshal(struct {
		Op string `json:"op"`
		plain
	}{"subscribe", plain(s)})
}
