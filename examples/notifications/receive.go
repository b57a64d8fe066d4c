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
	Listen  string   `default:"127.0.0.1:9093" help:"Where to listen."`
	Secrets []string `name:"secret" env:"WEBHOOK_SECRET" required:"" help:"whsec_… as the sender has it. Several: any of them may have signed."`
}

// Run receives until ctx ends.
func (c *receiveCmd) Run(ctx context.Context) error {
	signers, err := signers(c.Secrets)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           &receiver{signers: signers, out: os.Stdout},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if server.Shutdown(stop) != nil {
			return server.Close() // what is cut off here comes again
		}
		return nil
	})
	return g.Wait()
}

const (
	maxBody = 2 << 20 // an event has at most 1 MiB
	maxSeen = 100_000 // ids that are remembered
)

// receiver is an http.Handler that answers 204 when it has the event.
type receiver struct {
	signers []*webhooks.Webhook

	mu    sync.Mutex // protects the rest
	out   io.Writer
	seen  map[string]bool
	order []string // of seen, a ring
	next  int      // place in order
}

// ServeHTTP takes one webhook.
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
		http.Error(w, "the body did not come", http.StatusRequestTimeout)
		return
	}
	// Nothing of the request is believed before this.
	if err := r.verify(q.Header, body); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var n notice
	if err := json.Unmarshal(body, &n); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := r.take(q.Header.Get(webhooks.HeaderWebhookID), n); err != nil {
		http.Error(w, "the event could not be kept", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// verify wants one of the signatures to be that of one of the secrets, and a timestamp of the
// last five minutes. It compares in constant time.
func (r *receiver) verify(header http.Header, body []byte) (err error) {
	for _, signer := range r.signers {
		if err = signer.Verify(body, header); err == nil {
			return nil
		}
	}
	return err
}

// take prints an event's line, once.
func (r *receiver) take(id string, n notice) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] {
		return nil
	}
	line, err := json.Marshal(struct {
		ID string `json:"id"`
		notice
	}{id, n})
	if err != nil {
		return err
	}
	if _, err := r.out.Write(append(line, '\n')); err != nil {
		return err
	}
	if r.seen == nil {
		r.seen, r.order = map[string]bool{}, make([]string, maxSeen)
	}
	delete(r.seen, r.order[r.next])
	r.seen[id], r.order[r.next] = true, id
	r.next = (r.next + 1) % maxSeen
	return nil
}
