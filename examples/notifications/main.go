// Command notifications sends a signed webhook for each event of the ledger, and shows how a
// receiver checks one. The signatures follow https://www.standardwebhooks.com.
//
// To try it, in three terminals:
//
//	export REALTIME_WEBHOOK_SECRET=whsec_$(openssl rand -base64 24)    # the same in all terminals
//	go run ./cmd/core dev --traffic 5
//	go run ./examples/notifications receive
//	go run ./examples/notifications send --url http://127.0.0.1:9093/
//
// If the receiver answers 408, 425, 429 or 5xx, or does not answer within 15 seconds, the bus
// retries. The delay before a retry is at most 5 s, 10 s, 20 s and so on up to 5 minutes. There are
// 8 attempts. While all attempts fail, the bus pauses and the events wait in Redis.
//
// Any other answer that is not 2xx is final. The sender does not follow redirects. The event
// becomes a dead letter, and so does an event whose 8 attempts failed. After the cause is fixed:
//
//	go run ./cmd/core dead-letters list --redis-url redis://127.0.0.1:6390/0
//	go run ./cmd/core dead-letters replay --redis-url redis://127.0.0.1:6390/0 --group notifications --all
//
// A webhook may arrive twice, because an answer can be lost or the sender can crash. A retried
// webhook may arrive after a later one. The webhook-id is the event's id and stays the same, so the
// receiver can drop duplicates. This receiver remembers ids in memory. A receiver that does more
// than print should store the id in its database, in the same transaction as its work, as
// examples/feed does.
//
// To change the secret, give both sides the old and the new secret, separated by a comma: first the
// receiver, then the sender. Then remove the old secret in the same order.
//
// The data of a webhook is the whole event, with the balances of both parties. Send it only to your
// own services, not to a party.
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
	Receive receiveCmd `cmd:"" help:"Receive webhooks, check them, and print one line for each event."`
}

func main() {
	redislog.Disable() // go-redis returns its errors to the caller as well
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	command := kong.Parse(&commands{},
		kong.Description("Send the ledger's events as signed webhooks."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	err := command.Run()
	if err != nil {
		slog.Error("notifications failed", "error", err)
		os.Exit(1)
	}
}

// payload is the body of a webhook.
type payload struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"` // of the event
	Data      json.RawMessage `json:"data"`      // the event
}

// newSigners returns one signer for each secret.
func newSigners(secrets []string) ([]*webhooks.Webhook, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there must be a secret")
	}

	var signers []*webhooks.Webhook
	for _, secret := range secrets {
		text, prefixed := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(text)
		validSize := len(key) >= 24 && len(key) <= 64
		if !prefixed || err != nil || !validSize {
			return nil, errors.New("a secret must be whsec_ and 24 to 64 bytes in base64")
		}

		signer, err := webhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, err
		}

		signers = append(signers, signer)
	}

	return signers, nil
}
