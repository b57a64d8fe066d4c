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
	URL        string        `name:"url" env:"WEBHOOK_URL" required:"" help:"Where to send the webhooks: https://… or http://…"`
	Secrets    []string      `name:"secret" env:"WEBHOOK_SECRET" required:"" help:"whsec_… to sign with. Several: each signs."`
	RedisURL   string        `name:"redis-url" env:"REDIS_URL" default:"redis://127.0.0.1:6390/0" help:"Redis that carries the events."`
	Namespace  string        `env:"NAMESPACE" default:"rt" help:"First part of every Redis key."`
	Partitions int           `env:"PARTITIONS" default:"16" help:"Event streams, as the core has them."`
	Consumer   string        `env:"CONSUMER" help:"This process' name in the group, of no other. Absent: a new one at each start."`
	Attempts   int           `default:"8" help:"How often a webhook is sent before it becomes a dead letter."`
	FirstDelay time.Duration `default:"5s" help:"Longest wait before the second attempt; it doubles from then on."`
}

// Run sends until ctx ends.
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
		Keys: bus.Keys{Namespace: c.Namespace, Partitions: c.Partitions}, Group: "notifications", Consumer: c.Consumer,
		Attempts: c.Attempts, FirstDelay: c.FirstDelay, MaxDelay: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	if _, err := b.Subscribe(bus.Subscription{ID: "webhook", Handler: s, Types: []string{
		wallet.EventEscrowHeld, wallet.EventEscrowSettled, wallet.EventEscrowRefunded,
		wallet.EventEscrowPartialSettled, wallet.EventBalanceUpdated,
	}}); err != nil {
		return err
	}
	return b.Run(ctx)
}

// sender is a bus.Handler.
type sender struct {
	url     string
	signers []*webhooks.Webhook
	client  *http.Client
}

func newSender(to string, secrets []string) (*sender, error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%.100q is no URL of http or https", to)
	}
	signers, err := signers(secrets)
	if err != nil {
		return nil, err
	}
	return &sender{u.String(), signers, &http.Client{
		Timeout:       15 * time.Second, // shorter than the bus gives a handler
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxConnsPerHost: 32, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
	}}, nil
}

// Handle sends one webhook. An error that is not bus.Permanent has the bus call it again later.
func (s *sender) Handle(ctx context.Context, e *bus.Event) error {
	var header wallet.EventHeader
	if err := json.Unmarshal(e.Data, &header); err != nil {
		return bus.Permanent(fmt.Errorf("decode %s: %w", e.Type, err))
	}
	body, err := json.Marshal(notice{e.Type, header.Timestamp, e.Data})
	if err != nil {
		return bus.Permanent(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return bus.Permanent(err)
	}
	now := time.Now() // of this attempt: receivers refuse old ones
	signatures := make([]string, len(s.signers))
	for i, signer := range s.signers {
		if signatures[i], err = signer.Sign(e.ID, now, body); err != nil {
			return bus.Permanent(err)
		}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(webhooks.HeaderWebhookID, e.ID)
	request.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(webhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // for the dead letter; the status says enough without
	return verdict(response.StatusCode, answer)
}

// verdict tells what an answer means.
func verdict(status int, answer []byte) error {
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
