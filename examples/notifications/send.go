package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

type sendCmd struct {
	URL        string        `name:"url" env:"REALTIME_WEBHOOK_URL" required:"" help:"URL that receives the webhooks: https://… or http://…"`
	Secrets    []string      `name:"secret" env:"REALTIME_WEBHOOK_SECRET" required:"" help:"Secret that signs the webhooks, whsec_…. With several secrets, each webhook has a signature of each."`
	RedisURL   string        `name:"redis-url" env:"REALTIME_REDIS_URL,REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis server with the event streams."`
	Namespace  string        `env:"REALTIME_NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int           `env:"REALTIME_PARTITIONS" default:"64" help:"Number of event streams, the same as in the core."`
	Consumer   string        `env:"REALTIME_CONSUMER" help:"Name of this process in the consumer group. No two processes may share a name. Default: a new name at each start."`
	Attempts   int           `default:"8" help:"Attempts to send a webhook before it becomes a dead letter."`
	FirstDelay time.Duration `default:"5s" help:"Longest delay before the second attempt. It doubles for each further attempt."`
}

// eventTypes are the events that are sent.
var eventTypes = []string{
	wallet.EventEscrowHeld,
	wallet.EventEscrowSettled,
	wallet.EventEscrowRefunded,
	wallet.EventEscrowPartialSettled,
	wallet.EventBalanceUpdated,
}

// Run sends webhooks until ctx ends.
func (c *sendCmd) Run(ctx context.Context) error {
	s, err := newSender(c.URL, c.Secrets)
	if err != nil {
		return err
	}
	defer s.client.CloseIdleConnections()
	rdb, err := redisconn.Open(c.RedisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()

	b, err := consumer.New(rdb, bus.Config{
		Keys:       bus.Keys{Namespace: c.Namespace, Partitions: c.Partitions},
		Group:      "notifications",
		Consumer:   c.Consumer,
		Attempts:   c.Attempts,
		FirstDelay: c.FirstDelay,
		MaxDelay:   5 * time.Minute,
	})
	if err != nil {
		return err
	}

	_, err = b.Subscribe(bus.Subscription{
		ID:      "webhook",
		Types:   eventTypes,
		Handler: s,
	})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// sender is a bus.Handler that sends webhooks.
type sender struct {
	url     string
	signers []*webhooks.Webhook
	client  *http.Client
}

func newSender(receiverURL string, secrets []string) (*sender, error) {
	u, err := url.Parse(receiverURL)
	if err != nil || u.Host == "" || !isHTTP(u.Scheme) {
		return nil, fmt.Errorf("the URL must be an http or https URL, but is %.100q", receiverURL)
	}

	signers, err := newSigners(secrets)
	if err != nil {
		return nil, err
	}

	client := &http.Client{
		Timeout:       15 * time.Second, // shorter than the handler timeout of the bus
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        32,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return &sender{
		url:     u.String(),
		signers: signers,
		client:  client,
	}, nil
}

func isHTTP(scheme string) bool { return scheme == "https" || scheme == "http" }

// Handle sends one webhook. After an error that is not bus.Permanent the bus retries.
func (s *sender) Handle(ctx context.Context, e *bus.Event) error {
	request, err := s.newRequest(ctx, e)
	if err != nil {
		return bus.Permanent(err)
	}

	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()

	// The dead letter shows the beginning of the answer. A read error does not matter.
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return answerError(response.StatusCode, answer)
}

// newRequest returns the signed webhook of an event.
func (s *sender) newRequest(ctx context.Context, e *bus.Event) (*http.Request, error) {
	var header wallet.EventHeader
	err := json.Unmarshal(e.Data, &header)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", e.Type, err)
	}

	body, err := json.Marshal(payload{
		Type:      e.Type,
		Timestamp: header.Timestamp,
		Data:      e.Data,
	})
	if err != nil {
		return nil, err
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}

	now := time.Now() // the time of this attempt, because receivers refuse old timestamps
	signatures := make([]string, len(s.signers))
	for i, signer := range s.signers {
		signatures[i], err = signer.Sign(e.ID, now, body)
		if err != nil {
			return nil, err
		}
	}

	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(webhooks.HeaderWebhookID, e.ID)
	request.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(webhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return request, nil
}

// answerError returns nil for a 2xx status. For any other status it returns an error, which is
// bus.Permanent if a retry cannot succeed.
func answerError(status int, answer []byte) error {
	if status/100 == 2 {
		return nil
	}

	err := fmt.Errorf("the receiver answered %d %s: %q", status, http.StatusText(status), answer)
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	}

	if status/100 == 5 {
		return err
	}
	return bus.Permanent(err)
}
