package ws

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/revocation"
)

var (
	errStopping           = errors.New("the gateway is shutting down")
	errTooManyConnections = errors.New("too many connections")
	errTooManyPerAccount  = errors.New("too many connections of an account")
	errTooManyPerAddress  = errors.New("too many connections from one address")
	errRevoked            = errors.New("the token was revoked")
)

// A registry has the sessions of all clients of this gateway.
type registry struct {
	maxAll     int
	maxAccount int
	maxAddress int

	mu        sync.Mutex // protects the fields below, and the position of each session
	all       []*session
	byID      map[string]*session
	byAccount map[string][]*session // by the accounts that a token names
	byAddress map[netip.Prefix]int  // number of sessions of a network
	revoked   revocation.List
	closed    bool          // no more clients are admitted
	empty     chan struct{} // closed when closed is true and there is no session
}

func newRegistry(cfg *Config) *registry {
	return &registry{
		maxAll:     cfg.MaxConnections,
		maxAccount: cfg.MaxConnectionsPerAccount,
		maxAddress: cfg.MaxConnectionsPerAddress,
		byID:       map[string]*session{},
		byAccount:  map[string][]*session{},
		byAddress:  map[netip.Prefix]int{},
		revoked:    revocation.NewList(),
		empty:      make(chan struct{}),
	}
}

// addSession admits a client. It returns an error if there are too many or the gateway is shutting
// down.
func (r *registry) addSession(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.closed {
		return errStopping
	}

	if len(r.all) >= r.maxAll {
		return errTooManyConnections
	}

	if r.isNetworkFull(s.network) {
		return errTooManyPerAddress
	}

	r.byAddress[s.network]++
	s.position = len(r.all)
	r.all = append(r.all, s)
	r.byID[s.ID] = s

	return nil
}

// checkNetwork returns the error that addSession would currently return for the client's network.
func (r *registry) checkNetwork(network netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.isNetworkFull(network) {
		return errTooManyPerAddress
	}

	return nil
}

// isNetworkFull reports whether a network has as many sessions as it may have. The zero network is
// not limited. The caller holds mu.
func (r *registry) isNetworkFull(network netip.Prefix) bool {
	return network.IsValid() && r.byAddress[network] >= r.maxAddress
}

// checkAdmission returns the error that addSession, or indexAccounts with the identity, would
// currently return. It also returns an error for a revoked token. The identity may be nil.
func (r *registry) checkAdmission(identity *Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	switch {
	case r.closed:
		return errStopping
	case len(r.all) >= r.maxAll:
		return errTooManyConnections
	case identity == nil:
		return nil
	case r.revoked.IsRevoked(identity.revocableToken(), time.Now()):
		return errRevoked
	}

	for _, account := range identity.Accounts {
		if len(r.byAccount[account]) >= r.maxAccount {
			return errTooManyPerAccount
		}
	}

	return nil
}

// indexAccounts adds the session to the index by the accounts of its identity. It replaces the
// entries of the old identity, which may be nil. It returns an error and changes nothing when an
// account has too many connections.
func (r *registry) indexAccounts(s *session, old, identity *Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		if len(list) >= r.maxAccount && !slices.Contains(list, s) {
			return errTooManyPerAccount
		}
	}

	r.unindexAccounts(s, old)
	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		if !slices.Contains(list, s) {
			r.byAccount[account] = append(list, s)
		}
	}

	return nil
}

// unindexAccounts removes the session from the index by account. The caller holds mu.
func (r *registry) unindexAccounts(s *session, identity *Identity) {
	if identity == nil {
		return
	}

	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		i := slices.Index(list, s)
		if i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(r.byAccount, account)
		} else {
			r.byAccount[account] = list
		}
	}
}

// removeSession removes a client.
func (r *registry) removeSession(s *session, identity *Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.unindexAccounts(s, identity)
	delete(r.byID, s.ID)
	r.byAddress[s.network]--
	if r.byAddress[s.network] == 0 {
		delete(r.byAddress, s.network)
	}

	// The last session moves to the free position.
	last := len(r.all) - 1
	moved := r.all[last]
	r.all[s.position] = moved
	moved.position = s.position
	r.all[last] = nil
	r.all = r.all[:last]
	if r.closed && last == 0 {
		close(r.empty)
	}
}

// stopAdmission makes addSession return errStopping from now on.
func (r *registry) stopAdmission() {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.closed {
		return
	}

	r.closed = true
	if len(r.all) == 0 {
		close(r.empty)
	}
}

// isClosed reports whether stopAdmission was called.
func (r *registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.closed
}

// appendDue appends the sessions that have a deadline at or before now, in ns since 1970.
func (r *registry) appendDue(dst []*session, now int64) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()

	for _, s := range r.all {
		if s.due.Load() <= now {
			dst = append(dst, s)
		}
	}

	return dst
}

// listSessions returns the sessions whose token names the account, or all sessions when account is
// empty.
func (r *registry) listSessions(account string) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()

	if account != "" {
		return slices.Clone(r.byAccount[account])
	}

	return slices.Clone(r.all)
}

// findSession returns the session with the connection id, or nil.
func (r *registry) findSession(id string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.byID[id]
}

// addRevocations adds the revocations and returns the sessions whose token they revoke.
func (r *registry) addRevocations(list []Revocation) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()

	anyNew := false
	for _, v := range list {
		isNew := r.revoked.AddRevocation(revocation.Revocation(v))
		anyNew = anyNew || isNew
	}

	if !anyNew {
		return nil // the usual case: gateways regularly read all revocations from Redis again
	}

	var found []*session
	for _, s := range r.all {
		s.mu.Lock()
		identity := s.identity
		setAt := s.identitySetAt
		s.mu.Unlock()
		if identity == nil {
			continue
		}

		// Whole seconds, because iat and Revocation.At in Redis have whole seconds.
		if r.revoked.IsRevoked(identity.revocableToken(), setAt.Truncate(time.Second)) {
			found = append(found, s)
		}
	}

	return found
}
