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
	start   int64        // seq of the snapshot at the beginning
	last    atomic.Int64 // seq of the newest event
	seen    []sighting   // valid when closed is closed
	err     error        // of the connection; valid when closed is closed
	closed  chan struct{}
	closing atomic.Bool // closeWatchers has been called
}

// endedEarly reports whether the connection ended before closeWatchers.
func (w *watcher) endedEarly() bool { return w.err != nil && !w.closing.Load() }

// sighting is an event that arrived.
type sighting struct {
	at        time.Time
	seq       int64
	id        string
	committed time.Time // the event's timestamp
}

// frame holds the fields of a frame that the benchmark needs.
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

// openWatchers connects and subscribes the clients, on all gateways in turn.
func openWatchers(ctx context.Context, secret stack.Secret, gateways []*stack.Server, o *options) ([]*watcher, error) {
	watchers := make([]*watcher, 0, o.clients)
	for n := range o.clients {
		w := &watcher{account: n % o.accounts, closed: make(chan struct{})}
		gateway := gateways[n/o.accounts%len(gateways)]
		if o.clients <= o.accounts {
			gateway = gateways[n%len(gateways)]
		}

		err := w.subscribe(ctx, secret, gateway.Addr)
		if err != nil {
			return watchers, fmt.Errorf("client %d: %w", n, err)
		}

		watchers = append(watchers, w)
		go w.readEvents(ctx)
	}

	return watchers, nil
}

// closeWatchers ends all clients. A second call does nothing.
func closeWatchers(watchers []*watcher) {
	for _, w := range watchers {
		select {
		case <-w.closed: // the connection has failed, or an earlier call has closed it
		default:
			w.closing.Store(true)
		}

		_ = w.conn.CloseNow()
		<-w.closed
	}
}

// subscribe connects, subscribes to the account and waits for the snapshot.
func (w *watcher) subscribe(ctx context.Context, secret stack.Secret, addr string) error {
	name := accountName(w.account)
	raw, err := secret.Token(name, nil)
	if err != nil {
		return err
	}

	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	w.conn, _, err = websocket.Dial(dialing, "ws://"+addr+"/v1/ws", &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + raw}},
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		return err
	}

	w.conn.SetReadLimit(4 << 20)
	err = w.conn.Write(dialing, websocket.MessageText,
		fmt.Appendf(nil, `{"op":"subscribe","sub":"w","accounts":[%q]}`, name))
	for err == nil {
		var message []byte
		_, message, err = w.conn.Read(dialing)
		if err != nil {
			break
		}

		for line := range bytes.SplitSeq(message, []byte("\n")) {
			var f frame
			err := json.Unmarshal(line, &f)
			if err != nil {
				return err
			}

			switch {
			case f.Op == "error":
				return fmt.Errorf("the gateway refused the subscription: %s", f.Message)
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

// readEvents stores events until the connection ends.
func (w *watcher) readEvents(ctx context.Context) {
	defer close(w.closed)
	for {
		_, message, err := w.conn.Read(ctx)
		at := time.Now()
		if err != nil {
			w.err = err
			return
		}

		for line := range bytes.SplitSeq(message, []byte("\n")) {
			w.err = w.handleFrame(line, at)
			if w.err != nil {
				return
			}
		}
	}
}

// handleFrame stores an event. It returns an error for a frame that ends the guarantee of the
// stream.
func (w *watcher) handleFrame(line []byte, at time.Time) error {
	var f frame
	err := json.Unmarshal(line, &f)
	if err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}

	switch f.Op {
	case "event":
		w.seen = append(w.seen, sighting{
			at:        at,
			seq:       f.Seq,
			id:        f.Event.ID,
			committed: f.Event.Timestamp,
		})
		w.last.Store(f.Seq)
	case "resync":
		return errors.New("resync: " + f.Reason)
	case "error", "reconnect":
		return fmt.Errorf("%s: %s%s", f.Op, f.Message, f.Reason)
	}
	return nil
}
