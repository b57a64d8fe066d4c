package protocol

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// StreamSub is the name of the only subscription of an event stream.
const StreamSub = "wallet"

// An EventStream encodes frames as server-sent events. It keeps the position of the client, which
// becomes the id of each event that changes it.
type EventStream struct {
	Position Position
}

// AppendHeartbeat appends a comment, which clients ignore.
func (s *EventStream) AppendHeartbeat(dst []byte) []byte {
	return append(dst, ":\n\n"...)
}

// AppendEvent appends an event frame of the account.
func (s *EventStream) AppendEvent(
	dst []byte, account string, seq int64, chain bus.Chain, frame []byte,
) []byte {
	s.Position.Set(account, seq, chain)
	dst = s.appendID(dst)

	return appendData(dst, frame)
}

// The delays after which a client of server-sent events connects again, in milliseconds. A browser
// keeps a delay until it gets another one, and uses it for failed connections, too. So the first
// frame of each stream sets it back to normalRetry, and the delay of a drain is never below
// minRetry.
const (
	normalRetry = 3000
	minRetry    = 1000
)

var (
	welcomePrefix    = []byte(`{"op":"welcome"`)
	subscribedPrefix = []byte(`{"op":"subscribed"`)
	resyncPrefix     = []byte(`{"op":"resync"`)
	reconnectPrefix  = []byte(`{"op":"reconnect"`)
)

// AppendFrame appends a frame that is not an event frame.
func (s *EventStream) AppendFrame(dst, frame []byte) []byte {
	switch {
	case bytes.HasPrefix(frame, welcomePrefix): // the first frame
		dst = appendRetry(dst, normalRetry)
	case bytes.HasPrefix(frame, subscribedPrefix):
		s.setSubscribed(frame)
		dst = s.appendID(dst)
	case bytes.HasPrefix(frame, resyncPrefix):
		s.setResynced(frame)
		dst = s.appendID(dst)
	case bytes.HasPrefix(frame, reconnectPrefix):
		dst = appendReconnect(dst, frame)
	}

	return appendData(dst, frame)
}

// setSubscribed moves the position to the start of a new subscription.
func (s *EventStream) setSubscribed(frame []byte) {
	var subscribed struct{ Accounts []SubscribedAccount }
	err := json.Unmarshal(frame, &subscribed)
	if err != nil {
		return
	}

	for _, a := range subscribed.Accounts {
		s.Position.Set(a.Account, a.Seq, a.Chain)
	}
}

// setResynced moves the position of one account to the seq of a resync frame.
func (s *EventStream) setResynced(frame []byte) {
	var resync SubscribedAccount
	err := json.Unmarshal(frame, &resync)
	if err != nil {
		return
	}

	s.Position.Set(resync.Account, resync.Seq, resync.Chain)
}

// appendReconnect appends the delay of a reconnect frame as a retry field.
func appendReconnect(dst, frame []byte) []byte {
	var reconnect struct{ AfterMs int64 }
	err := json.Unmarshal(frame, &reconnect)
	if err != nil {
		return dst
	}

	return appendRetry(dst, max(minRetry, reconnect.AfterMs))
}

// appendRetry appends a retry field.
func appendRetry(dst []byte, milliseconds int64) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, milliseconds, 10)

	return append(dst, '\n')
}

// AppendClosed appends the last frame of a stream. It carries the close code that a WebSocket
// client would receive.
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
