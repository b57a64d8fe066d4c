package play

import (
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/contract"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/match"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/server"
)

// takeRequest waits for a request.
func (p *player) takeRequest() (*server.Request, error) {
	ctx, cancel := p.context()
	defer cancel()
	var request *server.Request
	err := p.inbox.wait(ctx, func() (bool, error) {
		if len(p.inbox.requests) == 0 {
			return false, nil
		}
		request = p.inbox.requests[0]
		p.inbox.requests = p.inbox.requests[1:]
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the client must connect: %w", err)
	}
	return request, nil
}

func (p *player) playOpen(s script.Step) error {
	request, err := p.takeRequest()
	if err != nil {
		return err
	}
	if err := match.Compare(s.Value, request.Describe(), p.vars); err != nil {
		return fmt.Errorf("the request is not as expected: %w", err)
	}
	conn, err := p.open(s.Verb, request)
	if err != nil {
		return err
	}
	p.newest = s.As
	if s.As == "" {
		p.newest = fmt.Sprintf("connection %d", len(p.conns)+1)
	}
	p.conns[p.newest] = conn
	return nil
}

func (p *player) open(verb string, request *server.Request) (*server.Conn, error) {
	switch verb {
	case "hang":
		return p.server.Hang(request)
	case "stream":
		if request.IsSocket() {
			return nil, errors.New("the request must not be the handshake of a WebSocket")
		}
		return p.server.Stream(request)
	default:
		if !request.IsSocket() {
			return nil, errors.New("the request must be the handshake of a WebSocket")
		}
		return p.server.Accept(request)
	}
}

func (p *player) playCut(value any) error {
	request, err := p.takeRequest()
	if err != nil {
		return err
	}
	if err := match.Compare(value, request.Describe(), p.vars); err != nil {
		return fmt.Errorf("the request is not as expected: %w", err)
	}
	return request.Cut()
}

func (p *player) playRefuse(value any) error {
	refusal, _ := value.(map[string]any)
	request, err := p.takeRequest()
	if err != nil {
		return err
	}
	if err := match.Compare(refusal["request"], request.Describe(), p.vars); refusal["request"] != nil && err != nil {
		return fmt.Errorf("the request is not as expected: %w", err)
	}
	headers := map[string]string{}
	given, _ := refusal["headers"].(map[string]any)
	for name, text := range given {
		headers[name] = fmt.Sprint(text)
	}
	status, _ := refusal["status"].(float64)
	code, _ := refusal["code"].(string)
	detail, _ := refusal["detail"].(string)
	return request.Refuse(int(status), headers, code, detail)
}

func (p *player) playConn(conn *server.Conn, s script.Step) error {
	switch s.Verb {
	case "auth":
		return p.playAuth(conn, s.Value)
	case "expect":
		return p.playExpect(conn, s.Value)
	case "frames":
		return p.playFrames(conn, s.Value)
	case "send", "sendJoined", "sendText":
		return p.playSend(conn, s)
	case "close":
		end, _ := s.Value.(map[string]any)
		code, _ := end["code"].(float64)
		reason, _ := end["reason"].(string)
		return conn.Close(int(code), reason)
	case "drop":
		return conn.Drop()
	case "silent":
		return conn.Silence()
	case "closed":
		return p.playClosed(conn, s.Value)
	}
	return fmt.Errorf("the verb %q is unknown", s.Verb)
}

// playAuth waits for the token in the first frame, unless the handshake had it.
func (p *player) playAuth(conn *server.Conn, value any) error {
	token, inHeader := conn.Request.Token()
	auth, _ := value.(map[string]any)
	if !inHeader {
		return p.playExpect(conn, map[string]any{"op": "auth", "token": auth["token"]})
	}
	return match.Compare(auth["token"], token, p.vars)
}

// playExpect waits for the next frames of the client: one, or a set in any order.
func (p *player) playExpect(conn *server.Conn, value any) error {
	expected, isSet := value.([]any)
	if !isSet {
		expected = []any{value}
	}
	ctx, cancel := p.context()
	defer cancel()
	for len(expected) > 0 {
		err := p.inbox.wait(ctx, func() (bool, error) {
			frames := p.inbox.frames[conn]
			if len(frames) == 0 {
				return false, closedError(p.inbox.closed[conn])
			}
			i, err := p.findMatch(expected, frames[0])
			if err != nil {
				return false, err
			}
			expected = append(append([]any{}, expected[:i]...), expected[i+1:]...)
			p.inbox.frames[conn] = frames[1:]
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("the server must get %s: %w", match.Text(expected), err)
		}
	}
	return nil
}

// playFrames takes all frames that the client sends without further time. Each must be as expected,
// and so must their number.
func (p *player) playFrames(conn *server.Conn, value any) error {
	expected, _ := value.(map[string]any)
	if err := p.settle(); err != nil {
		return err
	}
	p.inbox.mu.Lock()
	frames := p.inbox.frames[conn]
	delete(p.inbox.frames, conn)
	p.inbox.mu.Unlock()
	for _, f := range frames {
		if err := match.Compare(expected["each"], f, p.vars); err != nil {
			return fmt.Errorf("the frame %s: %w", match.Text(f), err)
		}
	}
	if err := match.Compare(expected["count"], float64(len(frames)), p.vars); err != nil {
		return fmt.Errorf("the number of frames: %w", err)
	}
	return nil
}

// findMatch returns the index of the first expectation that a frame fulfills.
func (p *player) findMatch(expected []any, frame any) (int, error) {
	var all []error
	for i, e := range expected {
		err := match.Compare(e, frame, p.vars)
		if err == nil {
			return i, nil
		}
		all = append(all, err)
	}
	return 0, fmt.Errorf("the frame %s: %w", match.Text(frame), errors.Join(all...))
}

func closedError(closed *server.Closed) error {
	if closed == nil {
		return nil
	}
	return fmt.Errorf("the client closed the connection: %s", match.Text(closed))
}

func (p *player) playSend(conn *server.Conn, s script.Step) error {
	if s.Verb == "sendText" {
		text, ok := s.Value.(string)
		if !ok {
			return errors.New("a text must be a string")
		}
		p.log.add("        server > %q", text)
		return conn.SendText(text)
	}
	filled, err := match.Fill(s.Value, p.vars)
	if err != nil {
		return err
	}
	frames, isList := filled.([]any)
	if !isList {
		frames = []any{filled}
	}
	for _, f := range frames {
		p.log.add("        server > %s", match.Text(f))
		if err := contract.CheckServerFrame(f); err != nil {
			return fmt.Errorf("the scenario's frame must follow docs/asyncapi.json: %w", err)
		}
	}
	if s.Verb == "sendJoined" {
		return conn.SendFrames(frames)
	}
	for _, f := range frames {
		if err := conn.SendFrames([]any{f}); err != nil {
			return err
		}
	}
	return nil
}

// playClosed waits until the client has closed the connection.
func (p *player) playClosed(conn *server.Conn, value any) error {
	ctx, cancel := p.context()
	defer cancel()
	var closed *server.Closed
	err := p.inbox.wait(ctx, func() (bool, error) {
		closed = p.inbox.closed[conn]
		if closed == nil {
			return false, nil
		}
		delete(p.inbox.closed, conn)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("the client must close the connection: %w", err)
	}
	actual := map[string]any{"code": float64(closed.Code), "reason": closed.Reason}
	return match.Compare(value, actual, p.vars)
}
