package main

import (
	"bytes"
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
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The demo accounts, and what they get when they are made.
const (
	demoUser  = wallet.Account("user:demo")
	demoModel = wallet.Account("model:demo")

	demoUserPoints  = 1000
	demoModelPoints = 100
)

// demoTokens are valid for so long: longer than anybody leaves dev running.
const demoTokens = 30 * 24 * time.Hour

// A demo is what dev adds to a core and a gateway: accounts, tokens, words,
// pages, traffic.
type demo struct {
	cfg    devCmd
	listen *listeners
	ledger *wallet.Ledger

	coreURL, gatewayURL, socketURL string
	serviceToken, userToken        string

	passing chan passing // events on their way to the terminal
	skipped atomic.Int64 // events that did not fit
}

func newDemo(cfg devCmd, l *listeners, ledger *wallet.Ledger) (*demo, error) {
	d := &demo{
		cfg: cfg, listen: l, ledger: ledger, passing: make(chan passing, 1024),
		coreURL:    "http://" + reachable(l.http),
		gatewayURL: "http://" + reachable(l.gateway),
		socketURL:  "ws://" + reachable(l.gateway) + "/v1/ws",
	}
	var err error
	if d.serviceToken, err = d.sign(auth.Request{Subject: "dev-service", Scopes: []string{
		auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead, auth.ScopeEvents, auth.ScopeAdmin,
	}}); err != nil {
		return nil, err
	}
	d.userToken, err = d.sign(auth.Request{Subject: string(demoUser)})
	return d, err
}

func (d *demo) sign(r auth.Request) (string, error) {
	r.TTL = demoTokens
	return auth.Sign([]byte(d.cfg.JWTHS256Secret), r)
}

// reachable is the listener's address as a browser on this machine takes it.
func reachable(ln net.Listener) string {
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok || !addr.IP.IsUnspecified() {
		return ln.Addr().String()
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.Port)
}

// origins are the hosts that the live page may be opened under.
func (d *demo) origins() []string {
	addr, ok := d.listen.http.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	if addr.IP.IsUnspecified() {
		return []string{fmt.Sprintf("*:%d", addr.Port)}
	}
	return []string{addr.String(), fmt.Sprintf("localhost:%d", addr.Port)}
}

// pages adds the live page.
func (d *demo) pages(core *stack, gw *gateway.Gateway) error {
	page, err := d.livePage()
	if err != nil {
		return err
	}
	core.api.Handle("GET /{$}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
	}))
	gw.Handle("GET /{$}", http.RedirectHandler(d.coreURL+"/", http.StatusFound))
	return nil
}

// run makes the accounts, waits until everything answers, says so, and then shows
// what passes and makes traffic until ctx ends.
func (d *demo) run(ctx context.Context, out io.Writer, caughtUp <-chan struct{}) error {
	select {
	case <-caughtUp:
	case <-ctx.Done():
		return nil
	}
	err := d.accounts(ctx)
	for _, ln := range []net.Listener{d.listen.admin, d.listen.gatewayAdmin} {
		if err == nil {
			err = answers(ctx, "http://"+reachable(ln)+"/readyz")
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // stopped as asked, in the middle of something
	case err != nil:
		return err
	}
	if err := d.greet(out); err != nil {
		return err
	}
	return d.live(ctx, out)
}

// accounts makes the demo accounts that are missing.
func (d *demo) accounts(ctx context.Context) error {
	for _, a := range []struct {
		account wallet.Account
		points  int64
		reason  string
	}{{demoUser, demoUserPoints, "user_signup_bonus"}, {demoModel, demoModelPoints, "admin_credit"}} {
		if _, err := d.ledger.Balance(ctx, a.account); !errors.Is(err, wallet.ErrAccountNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := d.ledger.Do(ctx, wallet.Op{
			Operation: wallet.OpCredit, IdempotencyKey: "dev-" + uuid.NewString(), Account: a.account,
			Amount: a.points, Reason: a.reason,
		}); err != nil {
			return err
		}
	}
	return nil
}

// answers waits for a 200.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", url, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *demo) greet(out io.Writer) error {
	text := strings.NewReplacer(
		"{core}", d.coreURL, "{socket}", d.socketURL, "{gateway}", d.gatewayURL, "{redis}", d.listen.redis.Addr(),
		"{admin}", reachable(d.listen.admin), "{gatewayAdmin}", reachable(d.listen.gatewayAdmin),
		"{data}", d.cfg.Data, "{token}", d.serviceToken, "{userToken}", d.userToken,
	).Replace(greeting)
	_, err := io.WriteString(out, text)
	return err
}

const greeting = `
Points, live. One process: ledger (in {data}), embedded Redis, core, gateway.

  Live page    {core}/
  HTTP API     {core}/v1/…        described at {core}/docs
  WebSocket    {socket}
  Redis        redis://{redis}
  Admin        http://{admin}/readyz   http://{gatewayAdmin}/readyz   (and /metrics)

Paste into another terminal. Tokens: a service that may do everything, and user:demo.

  export TOKEN={token}
  export USER_TOKEN={userToken}

  curl -s {core}/v1/accounts/user:demo/balance -H "Authorization: Bearer $USER_TOKEN"

  curl -s {core}/v1/accounts/user:demo/credits -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: credit-$RANDOM$RANDOM" -d '{"amount":500,"reason":"promotional_award"}'

  ESCROW=$(curl -s {core}/v1/accounts/user:demo/holds -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: hold-$RANDOM$RANDOM" -d '{"amount":100,"reason":"chip_menu_purchase","queueItemId":"queue-1","featureType":"chip_menu"}' | sed 's/.*"escrowId":"\([^"]*\)".*/\1/'); echo "escrow $ESCROW"

  curl -s {core}/v1/escrows/$ESCROW/settle -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: settle-$ESCROW" -d '{"modelId":"model:demo","amount":100,"reason":"performance_completed","queueItemId":"queue-1"}'

  curl -s {gateway}/v1/accounts/user:demo/balance -H "Authorization: Bearer $USER_TOKEN"

Watch it as server-sent events, over WebSocket, or on the live page:

  curl -N {gateway}/v1/events -H "Authorization: Bearer $USER_TOKEN"

  (echo '{"op":"subscribe","sub":"wallet"}'; cat) | websocat --protocol wallet.v1 -H "Authorization: Bearer $USER_TOKEN" {socket}

Ctrl-C stops everything; the points stay.

ready
`
