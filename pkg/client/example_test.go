package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/client"
)

// startExampleGateway starts a server that answers one subscription like a gateway, with a snapshot
// and one event.
func startExampleGateway() (url string, stop func()) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"wallet.v1"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		c := &serverConn{ctx: r.Context(), conn: conn}
		_ = c.write(`{"op":"welcome","connection":"c0de","gateway":"gw-1","heartbeatSeconds":25,"expiresAt":"2030-01-01T00:00:00.000Z"}`)
		f, err := c.read()
		if err != nil {
			return
		}
		_ = c.write(subscribedFrame(f.Sub, 41))
		_ = c.write(heldFrame(f.Sub, 42))
		_, _ = c.read() // until the client ends
	}))
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/v1/ws", s.Close
}

// fetchToken stands for a request to the app's own server.
func fetchToken(context.Context) (string, error) { return "token", nil }

// A backend follows the events of a user.
func ExampleClient_Events() {
	url, stop := startExampleGateway()
	defer stop()
	ctx := context.Background()

	c, err := client.Dial(ctx, url, client.Config{Token: fetchToken})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	filter := client.Filter{Accounts: []string{"user:u1"}, StartWithBalance: true}
	for item, err := range c.Events(ctx, filter) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if item.Resync != nil { // replaces what is known of the account
			fmt.Println(item.Resync.Reason, "at", item.Seq, "with", item.Resync.Balance.Available)
			continue
		}
		switch e := item.Event.(type) {
		case *client.EscrowHeld:
			fmt.Println("held", e.Amount, "for", e.FeatureType)
		case *client.BalanceUpdated:
			fmt.Println(e.BalanceState, "is now", e.BalanceAfter)
		}
		break
	}
	// Output:
	// started at 41 with 959
	// held 1 for wheel
}

// A screen shows a balance. It says when the balance is not up to date.
func ExampleLiveBalance_Changes() {
	url, stop := startExampleGateway()
	defer stop()
	ctx := context.Background()

	c, err := client.New(url, client.Config{Token: fetchToken})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	balance := c.Balance("user:u1")
	defer balance.Close()
	for state := range balance.Changes(ctx) {
		switch state.Status {
		case client.BalanceLoading:
			continue // show a placeholder, and not zero
		case client.BalanceStale:
			fmt.Println("was", state.Available, "at", state.StaleSince)
			continue
		case client.BalanceFailed:
			fmt.Println(state.Err)
			return
		}
		if state.Seq == 42 {
			fmt.Println("available:", state.Available, "held:", state.Escrow)
			break
		}
	}
	// Output:
	// available: 958 held: 42
}

// An error says what to change.
func ExampleDial() {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	url := strings.Replace(web.URL, "http", "ws", 1) + "/socket"

	_, err := client.Dial(context.Background(), url, client.Config{Token: fetchToken})
	var failure *client.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Code)
		fmt.Println(failure.Message)
	}
	// Output:
	// wrong_url
	// the server answered 404 Not Found and is not a gateway; the URL must be like wss://gateway.example.com/v1/ws
}
