// Command outside serves a ws.Hub from a separate module. Any program with tokens and a ledger can
// do the same. The ledger of this program is a map; a POST to /credit adds an event to an account.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// passwords is a ws.Authenticator. It maps passwords, which are the tokens, to accounts.
type passwords map[string]string

// Authenticate implements ws.Authenticator.
func (p passwords) Authenticate(_ context.Context, token string) (*ws.Identity, error) {
	account, ok := p[token]
	if !ok {
		return nil, &ws.AuthError{Reason: "the token must be the password of an account"}
	}

	return &ws.Identity{
		Subject:   account,
		Accounts:  []string{account},
		ExpiresAt: time.Now().Add(time.Hour),
	}, nil
}

// ledger is a ws.History.
type ledger struct {
	mu     sync.Mutex // protects events
	events map[string][]bus.Delivery
}

// creditAccount adds an event to the account.
func (l *ledger) creditAccount(account string) bus.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()

	seq := int64(len(l.events[account]) + 1)
	event := bus.Delivery{
		ID:      fmt.Sprintf("%s-%d", account, seq),
		Type:    "wallet.balance_updated",
		Account: account,
		Seq:     seq,
		Amount:  10,
		Data:    fmt.Appendf(nil, `{"eventId":"%s-%d"}`, account, seq),
	}

	l.events[account] = append(l.events[account], event)
	return event
}

// Events implements ws.History.
func (l *ledger) Events(
	_ context.Context, account string, after int64, limit int,
) (events []bus.Delivery, last int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	all := l.events[account]
	last = int64(len(all))
	if after >= last {
		return nil, last, nil
	}

	return all[after:min(after+int64(limit), last)], last, nil
}

// Balance implements ws.History.
func (l *ledger) Balance(_ context.Context, account string) (bus.Balance, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	seq := int64(len(l.events[account]))
	return bus.Balance{Account: account, Available: 10 * seq, Seq: seq}, seq > 0, nil
}

// snapshots is a ws.Snapshots that reads the ledger.
type snapshots struct{ *ledger }

// Rewind implements ws.Snapshots. There is nothing to forget, because Get reads the ledger.
func (s snapshots) RequireSeq(string, int64) {}
func (s snapshots) Rewind(string, int64)     {}

// Get implements ws.Snapshots.
func (s snapshots) Get(ctx context.Context, account string) (bus.Balance, bool, error) {
	return s.Balance(ctx, account)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := serveHub(ctx)
	if err != nil {
		log.Fatal(err)
	}
}

func serveHub(ctx context.Context) error {
	history := &ledger{events: map[string][]bus.Delivery{}}
	config := ws.Config{Gateway: "outside"}
	hub := ws.NewHub(config, snapshots{history}, history)
	tokens := passwords{"open sesame": "user:alibaba"}

	mux := http.NewServeMux()
	mux.Handle("GET /v1/ws", hub.Handler(tokens))
	mux.Handle("GET /v1/events", hub.Events(tokens))
	mux.HandleFunc("POST /credit/{account}", func(_ http.ResponseWriter, r *http.Request) {
		event := history.creditAccount(r.PathValue("account"))
		hub.Deliver([]bus.Delivery{event}, false)
	})

	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		return err
	}

	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // returns an error after Close
	fmt.Println("ready")
	err = hub.Run(ctx) // returns when all connections are closed
	_ = server.Close()

	return err
}
