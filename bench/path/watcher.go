package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/bench/stack"
)

// watcher is a WebSocket client that is subscribed to one account.
type watcher struct {
	account int
	conn    *websocket.Conn
	start   int64        // seq of the snapshot that it began with
	last    atomic.Int64 // seq of the newest event
	seen    []sighting   // read it after closed
	err     error        // why it ended; read it after closed
	closed  chan struct{}
	closing atomic.Bool // we end it ourselves
}

// ended tells whether the connection ended before we closed it.
func (w *watcher) ended() bool { return w.err != nil && !w.closing.Load() }

// sighting is an event that arrived.
type sighting struct {
	at        time.Time
	seq       int64
	id        string
	committed time.Time // the event's timestamp
}

// frame is what a server sends, as far as it matters here.
type frame struct {
	Op       string `json:"op"`
	Message  string `json:"message"`
	Reason   string `json:"reason"`
	Account  string `json:"account"`
	Seq      int64  `json:"seq"`
	Accounts []struct {
		Seq int64 `json:"seq"`
	} `json:"accounts"`
	Event struct {
		ID        string    `json:"eventId"`
		Timestamp time.Time `json:"timestamp"`
	} `json:"event"`
}

// openWatchers connects and subscribes the clients, in turn on each gateway.
func openWatchers(ctx context.Context, secret stack.Secret, gateways []*stack.Server, o *options) ([]*watcher, error) {
	watchers := make([]*watcher, 0, o.clients)
	for n := range o.clients {
		w := &watcher{account: n % o.accounts, closed: make(chan struct{})}
		gateway := gateways[n/o.accounts%len(gateways)]
		if o.clients <= o.accounts {
			gateway = gateways[n%len(gateways)]
		}
		if err := w.subscribe(ctx, secret, gateway.Addr); err != nil {
			return watchers, fmt.Errorf("client %d: %w", n, err)
		}
		watchers = append(watchers, w)
		go w.read(ctx)
	}
	return watchers, nil
}

// closeWatchers ends all clients. A second call does nothing.
func closeWatchers(watchers []*watcher) {
	for _, w := range watchers {
		select {
		case <-w.closed: // by itself, or by an earlier call
		default:
			w.closing.Store(true)
		}
		_ = w.conn.CloseNow()
		<-w.closed
	}
}

func (w *watcher) subscribe(ctx context.Context, secret stack.Secret, addr string) error {
	name := accountOf(w.account)
	raw, err := secret.Token(name, nil)
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	w.conn, _, err = websocket.Dial(dialing, "ws://"+addr+"/v1/ws", &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPHeader: http.Header{"Authorization": {"Bearer " + raw}}, Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		return err
	}
	w.conn.SetReadLimit(4 << 20)
	err = w.conn.Write(dialing, websocket.MessageText, fmt.Appendf(nil, `{"op":"subscribe","sub":"w","accounts":[%q]}`, name))
	for err == nil {
		var message []byte
		if _, message, err = w.conn.Read(dialing); err != nil {
			break
		}
		for line := range bytes.SplitSeq(message, []byte("\n")) {
			var f frame
			if err := json.Unmarshal(line, &f); err != nil {
				return err
			}
			switch {
			case f.Op == "error":
				return fmt.Errorf("the gateway refused: %s", f.Message)
			case f.Op == "subscribed" && len(f.Accounts) == 1:
				w.start = f.Accounts[0].Seq
				w.last.Store(w.start)
				return nil
			}
		}
	}
	_ = w.conn.CloseNow()
	return err
}

// read takes events until the connection ends.
func (w *watcher) read(ctx context.Context) {
	defer close(w.closed)
	for {
		_, message, err := w.conn.Read(ctx)
		at := time.Now()
		if err != nil {
			w.err = err
			return
		}
		for line := range bytes.SplitSeq(message, []byte("\n")) {
			if w.err = w.take(line, at); w.err != nil {
				return
			}
		}
	}
}

func (w *watcher) take(line []byte, at time.Time) error {
	var f frame
	if err := json.Unmarshal(line, &f); err != nil {
		return fmt.Errorf("a frame that is no JSON: %w", err)
	}
	switch f.Op {
	case "event":
		w.seen = append(w.seen, sighting{at: at, seq: f.Seq, id: f.Event.ID, committed: f.Event.Timestamp})
		w.last.Store(f.Seq)
	case "resync":
		return errors.New("resync: " + f.Reason)
	case "error", "reconnect":
		return fmt.Errorf("%s: %s%s", f.Op, f.Message, f.Reason)
	}
	return nil
}
