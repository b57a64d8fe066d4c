// Command notifications sends a webhook for each event of the ledger, signed as
// https://www.standardwebhooks.com says, and shows how the other side checks one.
//
// To try it, in three terminals:
//
//	export WEBHOOK_SECRET=whsec_$(openssl rand -base64 24)    # the same in all
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/notifications receive
//	go run ./examples/notifications send --url http://127.0.0.1:9093/
//
// What the receiver cannot take now (408, 425, 429, 5xx, no answer within 15 seconds) is
// sent again by the bus, after up to 5 s, 10 s, 20 s … 5 minutes, 8 times in all. While nothing
// works the bus pauses, and the events wait in Redis. What the receiver refuses (any other
// answer that is not 2xx; redirects are not followed) and what failed 8 times becomes a
// dead letter. When the cause is mended:
//
//	go run ./cmd/core dead-letters list --redis-url redis://127.0.0.1:6390/0
//	go run ./cmd/core dead-letters replay --redis-url redis://127.0.0.1:6390/0 --group notifications --all
//
// A webhook may come twice (the answer was lost, the sender died) and after a later one
// (it was sent again). Its webhook-id is the event's id and stays the same, so the receiver
// drops what it has. This receiver remembers ids in memory; one that does more than print
// keeps them in its database, in the transaction that does the work, as examples/feed does.
//
// To change the secret, give both sides the new one beside the old one, comma between
// them: first the receiver, then the sender, then take the old one away in the same order.
//
// The data is the whole event with both parties' balances: send it to services of your
// own, not to a party.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	redislog "github.com/redis/go-redis/v9/logging"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

type commands struct {
	Send    sendCmd    `cmd:"" help:"Send a webhook for each event."`
	Receive receiveCmd `cmd:"" help:"Receive webhooks, check them, and print a line for each event."`
}

func main() {
	redislog.Disable() // its errors reach us
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	command := kong.Parse(&commands{}, kong.Description("Send the ledger's events as signed webhooks."), kong.BindTo(ctx, (*context.Context)(nil)))
	if err := command.Run(); err != nil {
		slog.Error("notifications ends", "error", err)
		os.Exit(1)
	}
}

// notice is a webhook's body.
type notice struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"` // of the event
	Data      json.RawMessage `json:"data"`      // the event
}

// signers makes one signer for each secret.
func signers(secrets []string) ([]*webhooks.Webhook, error) {
	var all []*webhooks.Webhook
	for _, secret := range secrets {
		text, prefixed := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		if !prefixed || err != nil || len(key) < 24 || len(key) > 64 {
			return nil, errors.New("a secret is not whsec_ and then 24 to 64 bytes in base64")
		}
		signer, err := webhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, err
		}
		all = append(all, signer)
	}
	if all == nil {
		return nil, errors.New("no secret")
	}
	return all, nil
}
