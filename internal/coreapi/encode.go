package coreapi

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// appendJSON appends the JSON of v. It does not escape <, > and &, because the JSON is not part of
// HTML.
func appendJSON(b []byte, v any) ([]byte, error) {
	buffer := bytes.NewBuffer(b)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// appendWithMetadata appends the JSON of a shape and inserts its metadata in front of the last
// occurrence of before. The metadata must have the same bytes as in the client's request, because a
// retry is compared with them. encoding/json would remove its spaces.
func appendWithMetadata(b []byte, shape any, metadata []byte, before string) ([]byte, error) {
	start := len(b)
	b, err := appendJSON(b, shape)
	if err != nil || len(metadata) == 0 {
		return b, err
	}

	at := start + bytes.LastIndex(b[start:], []byte(before)) // the members after it have no text of a client
	rest := bytes.Clone(b[at:])
	b = append(b[:at], `,"metadata":`...)
	b = append(b, metadata...)
	return append(b, rest...), nil
}

func formatTime(t time.Time) string {
	return t.UTC().Format(bus.TimeFormat)
}

// optionalTime returns "" for the zero time.
func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return formatTime(t)
}

// optionalID returns "" for the zero id.
func optionalID(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}
