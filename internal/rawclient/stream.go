package rawclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// EventStream is a stream of server-sent events. It belongs to one subscription.
type EventStream struct {
	// LastID is the id of the last whole message that had one. Pass it to OpenEventStream to resume,
	// as an EventSource does.
	LastID string

	body  io.ReadCloser
	lines *bufio.Scanner
}

// OpenEventStream opens a stream at a gateway. lastID is empty for a new one. The stream ends with
// ctx. The client must not have a time limit.
func OpenEventStream(ctx context.Context, gatewayURL, token, lastID string, httpClient *http.Client) (*EventStream, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, gatewayURL+"/v1/events", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("got status %d, want 200", response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxMessage)
	return &EventStream{LastID: lastID, body: response.Body, lines: lines}, nil
}

// Close closes the connection.
func (s *EventStream) Close() { _ = s.body.Close() }

// Next returns the next frame. An id belongs to the message with it, which an empty line ends.
func (s *EventStream) Next() (Frame, error) {
	var id, data string
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue // a comment, or the end of one
			}
			if id != "" {
				s.LastID = id
			}
			return ParseFrame([]byte(data))
		}
	}
	err := s.lines.Err()
	if err == nil {
		err = io.EOF
	}
	return Frame{}, err
}
