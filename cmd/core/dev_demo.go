package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The demo accounts, and the points that new ones get.
const (
	demoUser  = wallet.Account("user:demo")
	demoModel = wallet.Account("model:demo")

	demoUserPoints  = 1000
	demoModelPoints = 100
)

const (
	// demoTokenTTL is longer than anybody leaves dev running.
	demoTokenTTL = 30 * 24 * time.Hour

	// maxPrintQueue bounds the events that wait for the terminal.
	maxPrintQueue = 1024

	// readyTimeout bounds the wait for a listener to be ready, readyInterval the time between checks.
	readyTimeout  = 30 * time.Second
	readyInterval = 20 * time.Millisecond
)

var serviceScopes = []string{
	auth.ScopeCredit,
	auth.ScopeDebit,
	auth.ScopeHold,
	auth.ScopeSettle,
	auth.ScopeRead,
	auth.ScopeEvents,
	auth.ScopeAdmin,
}

// A demo is the part of dev beside the core and the gateway: accounts, tokens, the greeting, the
// live page and random operations.
type demo struct {
	cfg    devCmd
	listen *listeners
	ledger *wallet.Ledger

	coreURL      string
	gatewayURL   string
	socketURL    string
	serviceToken string
	userToken    string

	startedAt  time.Time // older events are history, which is not printed
	printQueue chan receivedEvent
	skipped    atomic.Int64 // events that did not fit into printQueue
}

func newDemo(cfg devCmd, l *listeners, ledger *wallet.Ledger) (*demo, error) {
	d := &demo{
		cfg:        cfg,
		listen:     l,
		ledger:     ledger,
		coreURL:    "http://" + reachableAddress(l.http),
		gatewayURL: "http://" + reachableAddress(l.gateway),
		socketURL:  "ws://" + reachableAddress(l.gateway) + "/v1/ws",
		startedAt:  time.Now(),
		printQueue: make(chan receivedEvent, maxPrintQueue),
	}
	var err error
	d.serviceToken, err = d.signToken(auth.Request{Subject: "dev-service", Scopes: serviceScopes})
	if err != nil {
		return nil, err
	}
	d.userToken, err = d.signToken(auth.Request{Subject: string(demoUser)})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *demo) signToken(r auth.Request) (string, error) {
	r.TTL = demoTokenTTL
	return auth.Sign([]byte(d.cfg.JWTHS256Secret), r)
}

// reachableAddress returns the address under which a browser on this machine reaches the listener.
func reachableAddress(ln net.Listener) string {
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok || !addr.IP.IsUnspecified() {
		return ln.Addr().String()
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.Port)
}

// run creates the accounts, waits until core and gateway are ready and prints the greeting. Then it
// prints events and makes operations until ctx ends.
func (d *demo) run(ctx context.Context, out io.Writer, caughtUp <-chan struct{}) error {
	select {
	case <-caughtUp:
	case <-ctx.Done():
		return nil
	}
	err := d.prepare(ctx)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // a stop interrupts the preparation
	case err != nil:
		return err
	}
	err = d.printGreeting(out)
	if err != nil {
		return err
	}
	if d.cfg.Open {
		openPage(d.coreURL+"/", out)
	}
	return d.runLive(ctx, out)
}

// prepare creates the accounts and waits until core and gateway are ready.
func (d *demo) prepare(ctx context.Context) error {
	err := d.createAccounts(ctx)
	if err != nil {
		return err
	}
	for _, ln := range []net.Listener{d.listen.admin, d.listen.gatewayAdmin} {
		err = awaitOK(ctx, "http://"+reachableAddress(ln)+"/readyz")
		if err != nil {
			return err
		}
	}
	return nil
}

// createAccounts creates the demo accounts that do not exist.
func (d *demo) createAccounts(ctx context.Context) error {
	err := d.createAccount(ctx, demoUser, demoUserPoints, "user_signup_bonus")
	if err != nil {
		return err
	}
	return d.createAccount(ctx, demoModel, demoModelPoints, "admin_credit")
}

func (d *demo) createAccount(ctx context.Context, account wallet.Account, points int64, reason string) error {
	_, err := d.ledger.Balance(ctx, account)
	if !errors.Is(err, wallet.ErrAccountNotFound) {
		return err
	}
	_, err = d.ledger.Do(ctx, wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: "dev-" + uuid.NewString(),
		Account:        account,
		Amount:         points,
		Reason:         reason,
	})
	return err
}

// awaitOK waits until the URL answers 200.
func awaitOK(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := requestOK(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", url, err)
		case <-time.After(readyInterval):
		}
	}
}

// requestOK requires that the URL answers 200.
func requestOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// docsURL begins the links to the documentation.
const docsURL = "https://github.com/redroomrewards/realtime/blob/main/docs/"

// describeHistory returns a paragraph about the accounts of --seed.
func (d *demo) describeHistory() string {
	if d.cfg.Seed != seedDemo {
		return ""
	}
	return "A new ledger has a week of history: user:alice, user:bob, user:carol and user:dave, model:luna and model:nova.\n" +
		"For example, GET /v1/accounts/user:alice/entries with TOKEN.\n\n"
}

func (d *demo) printGreeting(out io.Writer) error {
	text := strings.NewReplacer(
		"{core}", d.coreURL,
		"{socket}", d.socketURL,
		"{gateway}", d.gatewayURL,
		"{redis}", d.listen.redis.Addr(),
		"{admin}", reachableAddress(d.listen.admin),
		"{gatewayAdmin}", reachableAddress(d.listen.gatewayAdmin),
		"{data}", d.cfg.Data,
		"{docs}", docsURL,
		"{history}", d.describeHistory(),
		"{token}", d.serviceToken,
		"{userToken}", d.userToken,
	).Replace(greeting)
	_, err := io.WriteString(out, text)
	return err
}

const greeting = `
Points, live. This process runs the ledger (in {data}), an embedded Redis, a core and a gateway.

  Live page    {core}/
  Demo app     {core}/demo/        built from examples/react-balance
  HTTP API     {core}/v1/…        described at {core}/docs
  WebSocket    {socket}
  Redis        redis://{redis}
  Admin        http://{admin}/readyz   http://{gatewayAdmin}/readyz   (and /metrics)

Three things to try next:

  1. Open {core}/ in two windows and click Hold 100: both show each change at once.
  2. Paste the commands below. They hold points and settle them, and this terminal prints the events.
  3. Put a live balance into an app of your own: {docs}live-balance.md

{history}Paste these commands into another terminal. TOKEN is for a service with all scopes, USER_TOKEN for user:demo.

  export TOKEN={token}
  export USER_TOKEN={userToken}

  curl -s {core}/v1/accounts/user:demo/balance -H "Authorization: Bearer $USER_TOKEN"

  curl -s {core}/v1/accounts/user:demo/credits -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: credit-$RANDOM$RANDOM" -d '{"amount":500,"reason":"promotional_award"}'

  ESCROW=$(curl -s {core}/v1/accounts/user:demo/holds -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: hold-$RANDOM$RANDOM" -d '{"amount":100,"reason":"chip_menu_purchase","queueItemId":"queue-1","featureType":"chip_menu"}' | sed 's/.*"escrowId":"\([^"]*\)".*/\1/'); echo "escrow $ESCROW"

  curl -s {core}/v1/escrows/$ESCROW/settle -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: settle-$ESCROW" -d '{"modelId":"model:demo","amount":100,"reason":"performance_completed","queueItemId":"queue-1"}'

  curl -s {gateway}/v1/accounts/user:demo/balance -H "Authorization: Bearer $USER_TOKEN"

Watch the events as server-sent events, over WebSocket, or on the live page:

  curl -N {gateway}/v1/events -H "Authorization: Bearer $USER_TOKEN"

  (echo '{"op":"subscribe","sub":"wallet"}'; cat) | websocat --protocol wallet.v1 -H "Authorization: Bearer $USER_TOKEN" {socket}

Ctrl-C stops everything. The ledger keeps its data; core dev --reset begins with a new one.

ready
`
