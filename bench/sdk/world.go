//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/client"
)

// accountCount is the number of accounts that get events. Each client follows all of them.
const accountCount = 10

// world is a core, a server of each library with a proxy in front, and a Node.js process for each
// library.
type world struct {
	js        string // directory of the programs for Node.js
	core      *stack.Server
	publisher *stack.Server // publishes the core's events to Redis for centrifuge
	sides     []*side       // realtime, centrifuge
	ledger    *client.Ledger
	accounts  []string
	seq       int    // of each account in the ledger
	token     string // of the clients
}

// side is what belongs to one library.
type side struct {
	library string
	start   func(ctx context.Context) (*stack.Server, error)
	server  *stack.Server
	proxy   *proxy
	node    *node
	readyAt time.Time // the server became ready
}

func openWorld(ctx context.Context, h *harness.Harness) (_ *world, err error) {
	w := new(world)
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()

	root, err := stack.Root(ctx)
	if err != nil {
		return nil, err
	}

	w.js = filepath.Join(root, "bench", "sdk", "js")
	err = installPackages(ctx, root, w.js)
	if err != nil {
		return nil, err
	}

	err = w.startCore(ctx, h)
	if err != nil {
		return nil, err
	}

	err = w.startSides(ctx, h)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// installPackages installs the packages of npm and builds the client.
func installPackages(ctx context.Context, root, js string) error {
	typescript := filepath.Join(root, "clients", "typescript")
	for _, c := range []struct{ directory, command string }{
		{js, "npm ci --no-audit --no-fund"},
		{typescript, "npm ci --no-audit --no-fund"},
		{typescript, "npm run build"},
	} {
		cmd := exec.CommandContext(ctx, "sh", "-c", c.command)
		cmd.Dir = c.directory
		output, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s in %s: %w\n%s", c.command, c.directory, err, output)
		}
	}
	return nil
}

func (w *world) startCore(ctx context.Context, h *harness.Harness) error {
	program, err := h.Build(ctx, "cmd/core")
	if err != nil {
		return err
	}

	const database = "sdk"
	err = h.CreateDatabase(ctx, database, "")
	if err != nil {
		return err
	}

	config := h.Config(database)
	migrate := exec.CommandContext(ctx, program, "migrate", "up", "--database-url", config.DatabaseURL)
	output, err := migrate.CombinedOutput()
	if err != nil {
		return fmt.Errorf("core migrate up: %w\n%s", err, output)
	}

	w.core, err = stack.StartCore(ctx, program, config)
	if err != nil {
		return err
	}

	for i := range accountCount {
		w.accounts = append(w.accounts, fmt.Sprintf("user:u%d", i))
	}

	w.token, err = h.Secret.Token("app", w.accounts, auth.ScopeRead)
	if err != nil {
		return err
	}

	writer, err := h.Secret.Token("load", nil, auth.ScopeCredit)
	if err != nil {
		return err
	}

	w.ledger, err = client.NewLedger("http://"+w.core.Addr, client.LedgerConfig{Token: client.StaticToken(writer)})
	return err
}

func (w *world) startSides(ctx context.Context, h *harness.Harness) error {
	config := h.Config("sdk")
	gateway, err := h.Build(ctx, "cmd/gateway")
	if err != nil {
		return err
	}

	centrifuge, err := h.Build(ctx, "bench/centrifuge")
	if err != nil {
		return err
	}

	// An event of a client that is away for 20 s is still in the history.
	history := []string{"--redis", "--history=1000"}
	w.publisher, err = stack.StartRefserver(ctx, centrifuge, config, history...)
	if err != nil {
		return err
	}

	// The balances must exist before a client asks for them.
	err = w.credit(ctx, 1)
	if err != nil {
		return err
	}

	w.sides = []*side{
		{
			library: "realtime",
			start: func(ctx context.Context) (*stack.Server, error) {
				return stack.StartGateway(ctx, gateway, config, w.core)
			},
		},
		{
			library: "centrifuge",
			start: func(ctx context.Context) (*stack.Server, error) {
				return stack.StartRefserver(ctx, centrifuge, config, append(history, "--publish=false")...)
			},
		},
	}
	for _, s := range w.sides {
		err := s.open(ctx, w.js)
		if err != nil {
			return fmt.Errorf("%s: %w", s.library, err)
		}
	}
	return nil
}

func (s *side) open(ctx context.Context, js string) (err error) {
	s.proxy, err = startProxy(ctx)
	if err != nil {
		return err
	}

	err = s.startServer(ctx)
	if err != nil {
		return err
	}

	s.node, err = startNode(ctx, js, s.library)
	return err
}

func (s *side) startServer(ctx context.Context) (err error) {
	s.server, err = s.start(ctx)
	if err != nil {
		return err
	}
	s.proxy.setTarget(s.server.Addr)
	return nil
}

// restartServer stops the server, or kills it, and starts another one.
func (s *side) restartServer(ctx context.Context, kill bool) error {
	if kill {
		err := syscall.Kill(s.server.PID(), syscall.SIGKILL)
		if err != nil {
			return err
		}
		_ = s.server.Stop() // it waits, and says that the server was killed
		return s.startServer(ctx)
	}

	err := s.server.Stop()
	if err != nil {
		return err
	}
	return s.startServer(ctx)
}

// do sends a command to the clients of the library.
func (w *world) do(ctx context.Context, s *side, command, name string, more map[string]any, answer any) error {
	parameters := map[string]any{
		"name":     name,
		"url":      "ws://" + s.proxy.addr(),
		"core":     "http://" + w.core.Addr,
		"token":    w.token,
		"accounts": w.accounts,
	}
	for key, value := range more {
		parameters[key] = value
	}

	err := s.node.do(ctx, command, parameters, answer)
	if err != nil {
		return fmt.Errorf("%s: %w", s.library, err)
	}
	return nil
}

// credit commits rounds of events at once. A round has one event for each of the accounts.
func (w *world) credit(ctx context.Context, rounds int) error {
	var operations []client.Operation
	for range rounds {
		for _, account := range w.accounts {
			operations = append(operations, client.Credit{Account: account, Amount: 1, Reason: "promotional_award"})
		}
	}

	results, err := w.ledger.Batch(ctx, operations)
	if err != nil {
		return err
	}

	for _, result := range results {
		err := result.Err()
		if err != nil {
			return err
		}
	}
	w.seq += rounds
	return nil
}

// creditAtRate commits events at a rate until ctx ends.
func (w *world) creditAtRate(ctx context.Context, rate int) error {
	// Batches of several rounds keep the load of the core small. The clients measure only events.
	rounds := max(1, rate/(10*accountCount))
	interval := time.Second * time.Duration(rounds*accountCount) / time.Duration(rate)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}

		// A batch that has begun ends also if ctx does, so that its events are known.
		err := w.credit(context.WithoutCancel(ctx), rounds)
		if err != nil {
			return err
		}
	}
}

func (w *world) close() error {
	var errs []error
	for _, s := range w.sides {
		if s.node != nil {
			errs = append(errs, s.node.close())
		}
		if s.proxy != nil {
			errs = append(errs, s.proxy.close())
		}
		if s.server != nil {
			errs = append(errs, s.server.Stop())
		}
	}
	if w.publisher != nil {
		errs = append(errs, w.publisher.Stop())
	}
	if w.ledger != nil {
		w.ledger.Close()
	}
	if w.core != nil {
		errs = append(errs, w.core.Stop())
	}
	return errors.Join(errs...)
}
