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

// Server is a running server.
type Server struct {
	*process.Process
	Addr  string // of the API
	Admin string // of the admin listener; empty: none
}

// Secret signs tokens. The servers check tokens with it.
type Secret string

// NewSecret returns a random secret.
func NewSecret() Secret {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // crypto/rand never fails
	return Secret(hex.EncodeToString(b))
}

// Token returns a token that is valid for a day.
func (s Secret) Token(subject string, accounts []string, scopes ...string) (string, error) {
	return auth.Sign([]byte(s), auth.Request{
		Subject:  subject,
		Accounts: accounts,
		Scopes:   scopes,
		TTL:      24 * time.Hour,
	})
}

// Config is the configuration that the servers of one measurement share.
type Config struct {
	DatabaseURL string
	RedisURL    string
	Namespace   string // of the keys in Redis
	Secret      Secret
	Processor   string // of the servers, in the syntax of taskset; empty: any
}

func (c *Config) environ() []string {
	return []string{
		"DATABASE_URL=" + c.DatabaseURL,
		"REDIS_URL=" + c.RedisURL,
		"REALTIME_NAMESPACE=" + c.Namespace,
		"REALTIME_JWT_HS256_SECRET=" + string(c.Secret),
		"REALTIME_LOG_FORMAT=json",
	}
}

// StartCore starts `core serve` and waits until it is ready.
func StartCore(ctx context.Context, program string, c *Config, args ...string) (*Server, error) {
	return startServer(ctx, program, c, append([]string{"serve"}, args...))
}

// StartGateway starts `gateway serve` and waits until it is ready. Without a core (nil) it serves
// only the events that are in Redis.
func StartGateway(ctx context.Context, program string, c *Config, core *Server) (*Server, error) {
	raw, err := c.Secret.Token("gateway", nil, auth.ScopeRead)
	if err != nil {
		return nil, err
	}

	addr := "127.0.0.1:1" // no server listens there
	if core != nil {
		addr = core.Addr
	}
	return startServer(ctx, program, c, []string{"serve", "--core-url=http://" + addr, "--core-token=" + raw})
}

// StartRefserver starts a reference server (package refserver) and waits until it is ready.
func StartRefserver(ctx context.Context, program string, c *Config, args ...string) (*Server, error) {
	return startServer(ctx, program, c, args)
}

// startServer starts a program that has an API and an admin listener, on free ports.
func startServer(ctx context.Context, program string, c *Config, args []string) (*Server, error) {
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
		args = append([]string{"-c", c.Processor, program}, args...)
		program = "taskset"
	}

	p, err := process.Start(ctx, program, args, c.environ())
	if err != nil {
		return nil, err
	}
	return (&Server{
		Process: p,
		Addr:    addr,
		Admin:   admin,
	}).awaitReady(ctx, admin)
}

// StartBaseline starts the baseline with a number of database connections, and waits until it is
// ready.
func StartBaseline(ctx context.Context, program string, c *Config, pool int) (*Server, error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}

	args := []string{"--http=" + addr, "--pool=" + strconv.Itoa(pool)}
	p, err := process.Start(ctx, program, args, c.environ())
	if err != nil {
		return nil, err
	}
	return (&Server{Process: p, Addr: addr}).awaitReady(ctx, addr)
}

// awaitReady waits until the server is ready. It stops the server if that fails.
func (s *Server) awaitReady(ctx context.Context, addr string) (*Server, error) {
	err := s.AwaitOK(ctx, "http://"+addr+"/readyz")
	if err != nil {
		_ = s.Stop() // the first error is more helpful
		return nil, fmt.Errorf("start server: %w", err)
	}
	return s, nil
}
