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
	maxAll, maxAccount int

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
		maxAll: maxAll, maxAccount: maxAccount,
		byID: map[string]*session{}, byAccount: map[string][]*session{},
		revoked: newRevocations(),
		empty:   make(chan struct{}),
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

// check tells whether add, and name with that identity, would let a client in.
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
	for _, a := range identity.Accounts {
		if len(r.byAccount[a]) >= r.maxAccount {
			return errTooManyOfAccount
		}
	}
	return nil
}

// name files the client under its token's accounts, in place of those of an older
// token. It is an error, and nothing changes, when one has too many connections.
func (r *registry) name(s *session, old, identity *Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range identity.Accounts {
		if list := r.byAccount[a]; len(list) >= r.maxAccount && !slices.Contains(list, s) {
			return errTooManyOfAccount
		}
	}
	r.unname(s, old)
	for _, a := range identity.Accounts {
		if list := r.byAccount[a]; !slices.Contains(list, s) {
			r.byAccount[a] = append(list, s)
		}
	}
	return nil
}

// unname undoes name. The caller holds mu.
func (r *registry) unname(s *session, identity *Identity) {
	if identity == nil {
		return
	}
	for _, a := range identity.Accounts {
		list := r.byAccount[a]
		if i := slices.Index(list, s); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(r.byAccount, a)
		} else {
			r.byAccount[a] = list
		}
	}
}

// remove forgets the client.
func (r *registry) remove(s *session, identity *Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unname(s, identity)
	delete(r.byID, s.id)
	last := len(r.all) - 1
	r.all[s.position] = r.all[last]
	r.all[s.position].position = s.position
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
	if !r.closed {
		r.closed = true
		if len(r.all) == 0 {
			close(r.empty)
		}
	}
}

func (r *registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// due gives the clients whose time has come.
func (r *registry) due(now int64, into []*session) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if s.due.Load() <= now {
			into = append(into, s)
		}
	}
	return into
}

// list gives all clients, or those of an account.
func (r *registry) list(account string) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if account != "" {
		return slices.Clone(r.byAccount[account])
	}
	return slices.Clone(r.all)
}

func (r *registry) byConnection(id string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}
