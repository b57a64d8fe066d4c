package pgconn

import (
	"sync"
	"sync/atomic"
	"time"
)

// Server is what the connections of all pools know about the server that they reach. Its zero value
// is ready for use.
type Server struct {
	generations
	suspectAt atomic.Int64 // time of the last suspectOthers, in Unix nanoseconds
	lostAt    atomic.Int64 // time of the last lost round trip, in Unix nanoseconds
	lastHost  atomic.Int64 // index of the host that was connected to last
}

// suspectOthers makes connections that are idle now not be used again. A round trip has reached its
// time limit, or the server cannot be written any more.
func (s *Server) suspectOthers() { s.suspectAt.Store(time.Now().UnixNano()) }

// noteLoss records that a request was sent and its answer will not be read.
func (s *Server) noteLoss() { s.lostAt.Store(time.Now().UnixNano()) }

// LastLoss returns the time at which a connection was last closed while a request was without its
// answer. The server may have done the request, or may still be at work on it, for example in a wait
// for its synchronous standby. LastLoss returns the zero time if there was none.
func (s *Server) LastLoss() time.Time {
	at := s.lostAt.Load()
	if at == 0 {
		return time.Time{}
	}

	return time.Unix(0, at)
}

// isSuspect reports whether the last answer on a connection is older than the last suspectOthers.
func (s *Server) isSuspect(lastRead int64) bool { return lastRead < s.suspectAt.Load() }

// IdentityExpression is an SQL expression that differs between two databases, and between two runs
// of a server. It does not contain the server's address, because one server may have several.
const IdentityExpression = `concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
	(SELECT oid FROM pg_database WHERE datname = current_database()), coalesce(to_regclass('transactions')::oid, 0))`

// generations counts the databases that the connections have reached. New connections may reach
// another database than before: a standby after a failover, or a restored copy. The other database
// may lack commits of the earlier one. So nothing that the process remembers about the earlier one
// may be used any more.
type generations struct {
	newest atomic.Uint64 // number of the newest identity, from 1; 0 before the first connection

	mu       sync.Mutex // locked to change newest
	identity string     // the newest identity
}

// addIdentity records the identity that a new connection has reached and returns its generation.
func (g *generations) addIdentity(identity string) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()

	if identity != g.identity {
		g.identity = identity
		g.newest.Add(1)
	}

	return g.newest.Load()
}

// Generation returns a number that grows when new connections reach another database. Connections
// to the earlier database are then not used again.
func (g *generations) Generation() uint64 { return g.newest.Load() }

// Current returns the newest generation and its identity.
func (g *generations) Current() (generation uint64, identity string) {
	g.mu.Lock()
	defer g.mu.Unlock()

	return g.newest.Load(), g.identity
}
