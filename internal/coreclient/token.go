package coreclient

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// maxExpiryNotice is the longest time before the expiry of a token at which it counts as expiring.
// For a token with a short life it is a tenth of its life.
const maxExpiryNotice = 24 * time.Hour

// A token is one value of the client's token, with the core's newest verdict.
type token struct {
	raw     string
	expiry  time.Time              // zero: it does not expire, or is not a JWT
	notice  time.Duration          // time before the expiry at which it counts as expiring
	refused atomic.Pointer[string] // the reason, if the core refused it at its last use
}

func newToken(raw string) *token {
	t := &token{raw: raw, notice: maxExpiryNotice}
	issued, expiry, err := auth.ReadLifetime(raw)
	if err != nil {
		return t // the core decides what it accepts
	}

	t.expiry = expiry
	if !issued.IsZero() {
		t.notice = min(maxExpiryNotice, expiry.Sub(issued)/10)
	}
	return t
}

// noteAnswer records whether the core accepted the token.
func (t *token) noteAnswer(err error) {
	switch {
	case err == nil:
		t.refused.Store(nil)
	case errors.Is(err, ErrRefused):
		reason := err.Error()
		t.refused.Store(&reason)
	}
	// Another error does not say whether the core accepts the token.
}

// tokenFile holds the client's token. It replaces the token when the file has another one.
type tokenFile struct {
	file    string // empty: the token never changes
	current atomic.Pointer[token]

	mu    sync.Mutex // only one goroutine reads the file and replaces the token
	tried string     // the newest content of the file that tryFile has tried
}

// replaceRefused is called after the core refused a token. It returns the token that has replaced
// it, or else the one in the file. It returns nil if there is no other token.
func (f *tokenFile) replaceRefused(refused *token) *token {
	f.mu.Lock()
	defer f.mu.Unlock()
	current := f.current.Load()
	if current != refused {
		return current
	}

	raw, err := f.read()
	if err != nil || raw == refused.raw {
		return nil
	}
	renewed := newToken(raw)
	f.current.Store(renewed)
	return renewed
}

// tryFile replaces the token if the file has another one that try does not refuse. It reports
// whether it replaced the token. A token that was refused is not tried again.
func (f *tokenFile) tryFile(try func(*token) error) (replaced bool, err error) {
	if f.file == "" {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	raw, err := f.read()
	if err != nil {
		return false, err
	}
	if raw == f.current.Load().raw || raw == f.tried {
		return false, nil
	}

	candidate := newToken(raw)
	err = try(candidate)
	if err != nil && !errors.Is(err, ErrRefused) {
		return false, nil // the core does not answer, so the next call tries again
	}
	f.tried = raw
	if err != nil {
		return false, fmt.Errorf("keep the old token for the core, since the new one in %s does not work: %w", f.file, err)
	}
	f.current.Store(candidate)
	return true, nil
}

func (f *tokenFile) read() (string, error) {
	if f.file == "" {
		return "", errors.New("the token is not in a file")
	}
	content, err := os.ReadFile(f.file)
	if err != nil {
		return "", fmt.Errorf("read the token for the core: %w", err)
	}
	raw := strings.TrimSpace(string(content))
	if raw == "" {
		return "", fmt.Errorf("read the token for the core: %s must not be empty", f.file)
	}
	return raw, nil
}

// TokenState describes the client's token.
type TokenState struct {
	Expiry   time.Time // zero: unknown
	Expiring bool      // less than a day or a tenth of its life is left, whichever is shorter
	Refused  string    // the reason, if the core refused the token at its last use
	File     string    // the file from which the token is renewed; empty: none
}

// Token returns the state of the client's token.
func (c *Client) Token() TokenState {
	t := c.token.current.Load()
	state := TokenState{
		Expiry: t.expiry,
		File:   c.token.file,
	}
	if !t.expiry.IsZero() {
		state.Expiring = time.Until(t.expiry) < t.notice
	}
	reason := t.refused.Load()
	if reason != nil {
		state.Refused = *reason
	}
	return state
}

// Check returns nil if the token works and is not about to expire. The error says what to do.
func (s TokenState) Check() error {
	remedy := "restart with another --core-token; a token in --core-token-file can be renewed without a restart"
	if s.File != "" {
		remedy = "write a new token to " + s.File + "; it is used within a second"
	}
	switch {
	case s.Refused != "":
		return fmt.Errorf("%s; it must have the scope wallet:read and be signed with a key of the core; %s", s.Refused, remedy)
	case s.Expiring:
		return fmt.Errorf("the token for the core must be renewed before it expires at %s; %s",
			s.Expiry.UTC().Format(time.RFC3339), remedy)
	}
	return nil
}
