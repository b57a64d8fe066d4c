package protocol

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// StreamSub is the name of the one subscription of an event stream.
const StreamSub = "wallet"

// An EventStream writes frames as server-sent events. It keeps the client's position, which is the
// id of each event that moves the client on.
type EventStream struct {
	Position Position
}

// AppendHeartbeat appends a comment, which clients ignore.
func (s *EventStream) AppendHeartbeat(dst []byte) []byte { return append(dst, ":\n\n"...) }

// AppendEvent appends the frame of an account's event.
func (s *EventStream) AppendEvent(dst []byte, account string, seq int64, frame []byte) []byte {
	s.Position.Set(account, seq)
	dst = s.appendID(dst)
	return appendData(dst, frame)
}

var (
	subscribedStart = []byte(`{"op":"subscribed"`)
	resyncStart     = []byte(`{"op":"resync"`)
	reconnectStart  = []byte(`{"op":"reconnect"`)
)

// AppendFrame appends any other frame.
func (s *EventStream) AppendFrame(dst, frame []byte) []byte {
	switch {
	case bytes.HasPrefix(frame, subscribedStart):
		var f struct{ Accounts []SubscribedAccount }
		if json.Unmarshal(frame, &f) == nil {
			for _, a := range f.Accounts {
				s.Position.Set(a.Account, a.Seq)
			}
		}
		dst = s.appendID(dst)
	case bytes.HasPrefix(frame, resyncStart):
		var f SubscribedAccount
		if json.Unmarshal(frame, &f) == nil {
			s.Position.Set(f.Account, f.Seq)
		}
		dst = s.appendID(dst)
	case bytes.HasPrefix(frame, reconnectStart):
		var f struct{ AfterMs int64 }
		if json.Unmarshal(frame, &f) == nil {
			dst = append(dst, "retry: "...)
			dst = strconv.AppendInt(dst, f.AfterMs, 10)
			dst = append(dst, '\n')
		}
	}
	return appendData(dst, frame)
}

// AppendClosed appends the last frame of a stream, which stands for the close code of a WebSocket.
func (s *EventStream) AppendClosed(dst []byte, code CloseCode) []byte {
	dst = append(dst, `data: {"op":"closed","code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"reason":"`...)
	dst = append(dst, code.Reason()...)
	return append(dst, "\"}\n\n"...)
}

func (s *EventStream) appendID(dst []byte) []byte {
	if s.Position.IsEmpty() {
		return dst
	}
	dst = append(dst, "id: "...)
	dst = s.Position.AppendTo(dst)
	return append(dst, '\n')
}

func appendData(dst, frame []byte) []byte {
	dst = append(dst, "data: "...)
	dst = append(dst, frame...)
	return append(dst, "\n\n"...)
}
