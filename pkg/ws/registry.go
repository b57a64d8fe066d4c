package ws

import (
	"errors"
	"slices"
	"sync"
	"time"
)

var (
	errStopping           = errors.New("the gateway is going away")
	errTooManyConnections = errors.New("too many connections")
	errTooManyOfAccount   = errors.New("too many connections of an account")
	errRevoked            = errors.New("the token was revoked")
)

// registry knows all clients of this gateway.
type registry struct {
	maxAll     int
	maxAccount int

	mu        sync.Mutex // protects what follows, and the sessions' position
	all       []*session
	byID      map[string]*session
	byAccount map[string][]*session // by the accounts that a token names
	revoked   revocations
	closed    bool
	empty     chan struct{} // closed when closed and nobody is left
}

func newRegistry(maxAll, maxAccount int) *registry {
	return &registry{
		maxAll:     maxAll,
		maxAccount: maxAccount,
		byID:       map[string]*session{},
		byAccount:  map[string][]*session{},
		revoked:    newRevocations(),
		empty:      make(chan struct{}),
	}
}

// add lets a client in, unless there are too many or the gateway is going away.
func (r *registry) add(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errStopping
	}
	if len(r.all) >= r.maxAll {
		return errTooManyConnections
	}
	s.position = len(r.all)
	r.all = append(r.all, s)
	r.byID[s.id] = s
	return nil
}

// check says whether add, and fileUnder with that identity, would let a client in. The identity may
// be nil.
func (r *registry) check(identity *Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return errStopping
	case len(r.all) >= r.maxAll:
		return errTooManyConnections
	case identity == nil:
		return nil
	case r.revoked.cover(identity, time.Now()):
		return errRevoked
	}
	for _, account := range identity.Accounts {
		if len(r.byAccount[account]) >= r.maxAccount {
			return errTooManyOfAccount
		}
	}
	return nil
}

// fileUnder files the client under its token's accounts, in place of those of an older token, which
// may be nil. It is an error when an account has too many connections, and nothing changes then.
func (r *registry) fileUnder(s *session, old, identity *Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		if len(list) >= r.maxAccount && !slices.Contains(list, s) {
			return errTooManyOfAccount
		}
	}
	r.unfile(s, old)
	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		if !slices.Contains(list, s) {
			r.byAccount[account] = append(list, s)
		}
	}
	return nil
}

// unfile undoes fileUnder. The caller holds mu.
func (r *registry) unfile(s *session, identity *Identity) {
	if identity == nil {
		return
	}
	for _, account := range identity.Accounts {
		list := r.byAccount[account]
		if i := slices.Index(list, s); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(r.byAccount, account)
		} else {
			r.byAccount[account] = list
		}
	}
}

// remove forgets the client.
func (r *registry) remove(s *session, identity *Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unfile(s, identity)
	delete(r.byID, s.id)
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

// close lets nobody in any more.
func (r *registry) close() {
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

func (r *registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// appendDue appends the clients whose time has come.
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

// list returns all clients, or those of an account.
func (r *registry) list(account string) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if account != "" {
		return slices.Clone(r.byAccount[account])
	}
	return slices.Clone(r.all)
}

// findByID returns the client of a connection, or nil.
func (r *registry) findByID(id string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}

// revoke notes the revocations and lists the clients that they are about.
func (r *registry) revoke(list []Revocation) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	anyNew := false
	for _, v := range list {
		anyNew = r.revoked.add(v) || anyNew
	}
	if !anyNew {
		return nil // as whenever a gateway asks Redis whether it has missed one
	}
	var found []*session
	for _, s := range r.all {
		s.mu.Lock()
		identity := s.identity
		seen := s.seen
		s.mu.Unlock()
		// In whole seconds, like iat and what Redis keeps of At.
		if identity != nil && r.revoked.cover(identity, seen.Truncate(time.Second)) {
			found = append(found, s)
		}
	}
	return found
}
