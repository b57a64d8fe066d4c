package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/sync/errgroup"
)

type receiveCmd struct {
	Listen  string   `default:"127.0.0.1:9093" help:"Address to listen on."`
	Secrets []string `name:"secret" env:"REALTIME_WEBHOOK_SECRET" required:"" help:"The sender's secret, whsec_…. With several secrets, a signature of any of them is valid."`
}

// Run receives webhooks until ctx ends.
func (c *receiveCmd) Run(ctx context.Context) error {
	signers, err := newSigners(c.Secrets)
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:           &receiver{signers: signers, out: os.Stdout},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if server.Shutdown(stopping) != nil {
			return server.Close() // the sender retries the requests that this interrupts
		}
		return nil
	})
	return g.Wait()
}

const (
	maxBody = 2 << 20 // an event has at most 1 MiB
	maxIDs  = 100_000 // ids that the receiver remembers
)

// receiver is an http.Handler. It answers 204 if it has stored the event.
type receiver struct {
	signers []*webhooks.Webhook

	mu   sync.Mutex // protects the fields below
	out  io.Writer
	seen map[string]bool // the newest ids
	ring []string        // the same ids in order of arrival
	next int             // index of the oldest id in ring
}

// ServeHTTP receives one webhook.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "webhooks are sent with POST", http.StatusMethodNotAllowed)
		return
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the body must arrive in time", http.StatusRequestTimeout)
		return
	}

	// Do not use any part of the request before this check.
	err = r.verifySignature(q.Header, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}

	var p payload
	err = json.Unmarshal(body, &p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	err = r.printOnce(q.Header.Get(webhooks.HeaderWebhookID), p)
	if err != nil {
		http.Error(w, "the event could not be stored", http.StatusInternalServerError)
		return
	}

	w.WriteHeader(http.StatusNoContent)
}

// verifySignature returns an error unless one of the secrets made one of the signatures, and the
// timestamp is at most five minutes away from now. The comparison takes constant time.
func (r *receiver) verifySignature(header http.Header, body []byte) error {
	var err error
	for _, signer := range r.signers {
		err = signer.Verify(body, header)
		if err == nil {
			return nil
		}
	}

	return err
}

// printOnce prints the event unless its id is known.
func (r *receiver) printOnce(id string, p payload) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] {
		return nil
	}

	line, err := json.Marshal(struct {
		ID string `json:"id"`
		payload
	}{id, p})
	if err != nil {
		return err
	}

	_, err = r.out.Write(append(line, '\n'))
	if err != nil {
		return err
	}

	r.rememberID(id)
	return nil
}

// rememberID replaces the oldest id.
func (r *receiver) rememberID(id string) {
	if r.seen == nil {
		r.seen = map[string]bool{}
		r.ring = make([]string, maxIDs)
	}

	delete(r.seen, r.ring[r.next])
	r.seen[id] = true
	r.ring[r.next] = id
	r.next = (r.next + 1) % maxIDs
}
