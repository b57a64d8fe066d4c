package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// silenceLimit is how long a viewer waits for a frame before it connects again. A WebSocket client
// sends pings, and server-sent events come with the events of the workers.
const silenceLimit = 5 * time.Second

// watchdog cancels a connection that is silent.
type watchdog struct {
	timer *time.Timer
}

func newWatchdog(cancel context.CancelFunc) *watchdog {
	return &watchdog{timer: time.AfterFunc(silenceLimit, cancel)}
}

func (d *watchdog) reset() { d.timer.Reset(silenceLimit) }
func (d *watchdog) stop()  { d.timer.Stop() }

// signToken returns a token for the next connection.
func (v *viewer) signToken() string { return v.w.signToken(v.name, v.options.tokenTTL, v.accounts) }

func (v *viewer) runWebSocket(ctx context.Context, gateway *program) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dog := newWatchdog(cancel)
	defer dog.stop()
	ws, _, err := websocket.Dial(ctx, "http://"+gateway.public+"/v1/ws", &websocket.DialOptions{
		HTTPClient:   v.w.http,
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + v.signToken()}},
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(8 << 20)
	err = ws.Write(ctx, websocket.MessageText, v.newSubscribe())
	if err != nil {
		return err
	}
	var pings sync.WaitGroup
	defer pings.Wait()
	defer cancel()
	pings.Go(func() { sendPings(ctx, ws) })
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		dog.reset()
		for line := range bytes.SplitSeq(message, []byte("\n")) {
			if !v.handleFrame(line) {
				return fmt.Errorf("got the frame %s", line)
			}
		}
	}
}

// sendPings makes the gateway answer, so that a silent connection is noticed.
func sendPings(ctx context.Context, ws *websocket.Conn) {
	tick := time.NewTicker(silenceLimit / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := ws.Write(ctx, websocket.MessageText, []byte(`{"op":"ping"}`))
			if err != nil {
				return
			}
		}
	}
}

// newSubscribe returns the subscribe frame.
func (v *viewer) newSubscribe() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	subscribe := object{"op": "subscribe", "sub": "wallet", "accounts": v.accounts}
	after := map[string]int64{}
	chains := map[string]string{}
	for account, s := range v.states {
		after[account] = s.seq
		chains[account] = s.chain
	}
	if len(after) > 0 {
		subscribe["after"] = after
		if !v.options.omitsChain {
			subscribe["chain"] = chains
		}
	}
	raw, err := json.Marshal(subscribe)
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	return raw
}

// runEventStream reads server-sent events as an EventSource does: it resumes with the id of the last
// event only.
func (v *viewer) runEventStream(ctx context.Context, gateway *program) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dog := newWatchdog(cancel)
	defer dog.stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway.public+"/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+v.signToken())
	v.mu.Lock()
	if v.lastEventID != "" {
		req.Header.Set("Last-Event-ID", v.lastEventID)
	}
	v.mu.Unlock()
	streaming := &http.Client{Transport: v.w.http.Transport} // without a time limit
	resp, err := streaming.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got status %d, want 200", resp.StatusCode)
	}
	return v.readEventStream(resp, dog)
}

// readEventStream handles whole messages only: an id belongs to the message with it, which an empty
// line ends.
func (v *viewer) readEventStream(resp *http.Response, dog *watchdog) error {
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 8<<20)
	var id, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue // a comment, or the end of one
			}
			dog.reset()
			if id != "" {
				v.mu.Lock()
				v.lastEventID = id
				v.mu.Unlock()
			}
			if !v.handleFrame([]byte(data)) {
				return fmt.Errorf("got the frame %s", data)
			}
			id = ""
			data = ""
		}
	}
	return lines.Err()
}
