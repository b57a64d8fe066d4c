package client

import (
	"bytes"
	"encoding/json"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// serverFrame is any frame of the gateway.
type serverFrame struct {
	Op               string              `json:"op"`
	Sub              string              `json:"sub"`
	Account          string              `json:"account"`
	Seq              int64               `json:"seq"`
	Chain            string              `json:"chain"`
	Event            jsontext.Value      `json:"event"`
	Accounts         []subscribedAccount `json:"accounts"`
	Snapshot         *Balance            `json:"snapshot"`
	Reason           string              `json:"reason"`
	Code             ErrorCode           `json:"code"`
	Message          string              `json:"message"`
	AfterMs          int64               `json:"afterMs"`
	HeartbeatSeconds int64               `json:"heartbeatSeconds"`

	event Event // decoded from Event
}

// subscribedAccount says where an account of a new subscription begins.
type subscribedAccount struct {
	Account   string   `json:"account"`
	Seq       int64    `json:"seq"`
	Chain     string   `json:"chain"`
	Recovered bool     `json:"recovered"`
	Snapshot  *Balance `json:"snapshot"`
}

// subscribeFrame opens a subscription.
type subscribeFrame struct {
	Op        string            `json:"op"`
	Sub       string            `json:"sub"`
	Accounts  []string          `json:"accounts,omitempty"`
	Types     []string          `json:"types,omitempty"`
	Reasons   []string          `json:"reasons,omitempty"`
	Features  []string          `json:"features,omitempty"`
	MinAmount int64             `json:"minAmount,omitempty"`
	After     map[string]int64  `json:"after,omitempty"`
	Chain     map[string]string `json:"chain,omitempty"`
}

// setPositions makes the subscription resume from the positions, by account.
func (f *subscribeFrame) setPositions(positions map[string]Position) {
	f.After = map[string]int64{}
	f.Chain = map[string]string{}
	for account, at := range positions {
		f.After[account] = at.Seq
		if at.Chain != "" {
			f.Chain[account] = at.Chain
		}
	}
}

// unmarshal decodes JSON of the gateway. It accepts what the gateway passes on unchanged, such as
// metadata with a name that occurs twice.
func unmarshal(data []byte, to any) error {
	return jsonv2.Unmarshal(data, to, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// decodeMessage returns the frames of a message. Frames with an op that the client does not know
// are left out.
func decodeMessage(message []byte) ([]serverFrame, error) {
	var frames []serverFrame
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		f, err := decodeFrame(line)
		if err != nil {
			return frames, err
		}
		if f != nil {
			frames = append(frames, *f)
		}
	}
	return frames, nil
}

// decodeFrame returns the frame of a JSON object, or nil if the client does not know its op.
func decodeFrame(line []byte) (*serverFrame, error) {
	f := &serverFrame{}
	err := unmarshal(line, f)
	if err != nil {
		// A frame with an unknown op may have other members with the same names.
		var head struct {
			Op string `json:"op"`
		}
		if unmarshal(line, &head) == nil && !isKnownOp(head.Op) {
			return nil, nil
		}
		return nil, err
	}
	if !isKnownOp(f.Op) {
		return nil, nil
	}
	if f.Op == "event" {
		f.event, err = DecodeEvent(f.Event)
	}
	return f, err
}

func isKnownOp(op string) bool {
	switch op {
	case "welcome", "subscribed", "event", "resync", "unsubscribed", "pong", "error", "token_expiring", "reconnect":
		return true
	default:
		return false
	}
}

// encodeFrame returns the JSON of a client frame, which always encodes.
func encodeFrame(frame any) []byte {
	encoded, err := json.Marshal(frame)
	if err != nil {
		panic("client: encode a frame: " + err.Error())
	}
	return encoded
}

// encodeNamedFrame returns a frame that names a subscription.
func encodeNamedFrame(op, sub string) []byte {
	return encodeFrame(struct {
		Op  string `json:"op"`
		Sub string `json:"sub"`
	}{op, sub})
}

var pingFrame = []byte(`{"op":"ping"}`)

// encodeAuthFrame returns the frame that renews the token.
func encodeAuthFrame(token string) []byte {
	return encodeFrame(struct {
		Op    string `json:"op"`
		Token string `json:"token"`
	}{"auth", token})
}
