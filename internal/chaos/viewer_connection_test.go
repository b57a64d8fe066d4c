package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/rawclient"
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
	socket, err := rawclient.Dial(ctx, "http://"+gateway.public, v.signToken(), v.w.http)
	if err != nil {
		return err
	}
	defer socket.Close()
	err = socket.Send(ctx, v.newSubscribe())
	if err != nil {
		return err
	}
	var pings sync.WaitGroup
	defer pings.Wait()
	defer cancel()
	pings.Go(func() { sendPings(ctx, socket) })
	return v.readFrames(dog, func() (rawclient.Frame, error) { return socket.Next(ctx) })
}

// readFrames handles frames until the connection ends or is of no more use.
func (v *viewer) readFrames(dog *watchdog, next func() (rawclient.Frame, error)) error {
	for {
		f, err := next()
		if errors.Is(err, rawclient.ErrBadFrame) {
			v.violate("%v", err)
		}
		if err != nil {
			return err
		}
		dog.reset()
		if !v.handleFrame(&f) {
			return fmt.Errorf("got the frame %s", &f)
		}
	}
}

// sendPings makes the gateway answer, so that a silent connection is noticed.
func sendPings(ctx context.Context, socket *rawclient.Socket) {
	tick := time.NewTicker(silenceLimit / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := socket.Ping(ctx)
			if err != nil {
				return
			}
		}
	}
}

// newSubscribe resumes the accounts that the viewer was shown before.
func (v *viewer) newSubscribe() rawclient.Subscribe {
	v.mu.Lock()
	defer v.mu.Unlock()
	subscribe := rawclient.Subscribe{Sub: "wallet", Accounts: v.accounts}
	for account, s := range v.states {
		chain := s.chain
		if v.options.omitsChain {
			chain = ""
		}
		subscribe.Resume(account, s.seq, chain)
	}
	return subscribe
}

// runEventStream reads server-sent events as an EventSource does: it resumes with the id of the last
// event only.
func (v *viewer) runEventStream(ctx context.Context, gateway *program) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dog := newWatchdog(cancel)
	defer dog.stop()
	streaming := &http.Client{Transport: v.w.http.Transport} // without a time limit
	stream, err := rawclient.OpenEventStream(ctx, "http://"+gateway.public, v.signToken(), v.lastEventID, streaming)
	if err != nil {
		return err
	}
	defer stream.Close()
	return v.readFrames(dog, func() (rawclient.Frame, error) {
		f, err := stream.Next()
		v.lastEventID = stream.LastID
		return f, err
	})
}
