package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/internal/auth"
)

// Server is a running core, baseline or gateway.
type Server struct {
	*process.Process
	Addr  string // of its API
	Admin string // of its admin listener; empty: it has none
}

// Secret signs tokens and is what servers check them with.
type Secret string

// NewSecret makes one up.
func NewSecret() Secret {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return Secret(hex.EncodeToString(b))
}

// Token makes a token, good for a day.
func (s Secret) Token(subject string, accounts []string, scopes ...string) (string, error) {
	return auth.Sign([]byte(s), auth.Request{Subject: subject, Accounts: accounts, Scopes: scopes, TTL: 24 * time.Hour})
}

// Config is what servers of one measurement share.
type Config struct {
	DatabaseURL string
	RedisURL    string
	Namespace   string // of the keys in Redis
	Secret      Secret
	Processor   string // that servers are pinned to, as taskset names it; empty: any
}

func (c *Config) env() []string {
	return []string{
		"DATABASE_URL=" + c.DatabaseURL, "REDIS_URL=" + c.RedisURL, "NAMESPACE=" + c.Namespace,
		"JWT_HS256_SECRET=" + string(c.Secret), "LOG_FORMAT=json",
	}
}

// StartCore starts `core serve` and waits until it is ready.
func StartCore(ctx context.Context, program string, c *Config, args ...string) (*Server, error) {
	return start(ctx, program, c, append([]string{"serve"}, args...))
}

// StartGateway starts `gateway serve` and waits until it is ready. Without a core
// (nil) it serves what is in Redis.
func StartGateway(ctx context.Context, program string, c *Config, core *Server) (*Server, error) {
	raw, err := c.Secret.Token("gateway", nil, auth.ScopeRead)
	if err != nil {
		return nil, err
	}
	addr := "127.0.0.1:1" // nobody listens there
	if core != nil {
		addr = core.Addr
	}
	return start(ctx, program, c, []string{"serve", "--core-url=http://" + addr, "--core-token=" + raw})
}

// StartRefserver starts a server that the gateway is compared with (package refserver) and waits
// until it is ready.
func StartRefserver(ctx context.Context, program string, c *Config, args ...string) (*Server, error) {
	return start(ctx, program, c, args)
}

func start(ctx context.Context, program string, c *Config, args []string) (*Server, error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	args = append(args, "--http="+addr, "--admin="+admin)
	if c.Processor != "" {
		program, args = "taskset", append([]string{"-c", c.Processor, program}, args...)
	}
	p, err := process.Start(ctx, program, args, c.env())
	if err != nil {
		return nil, err
	}
	return (&Server{Process: p, Addr: addr, Admin: admin}).whenReady(ctx, admin)
}

// StartBaseline starts the baseline with so many database connections.
func StartBaseline(ctx context.Context, program string, c *Config, pool int) (*Server, error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(ctx, program, []string{"--http=" + addr, "--pool=" + strconv.Itoa(pool)}, c.env())
	if err != nil {
		return nil, err
	}
	return (&Server{Process: p, Addr: addr}).whenReady(ctx, addr)
}

// whenReady returns the server once it says so, or stops it.
func (s *Server) whenReady(ctx context.Context, addr string) (*Server, error) {
	if err := s.AwaitOK(ctx, "http://"+addr+"/readyz"); err != nil {
		_ = s.Stop() // the first error says more
		return nil, fmt.Errorf("start: %w", err)
	}
	return s, nil
}
