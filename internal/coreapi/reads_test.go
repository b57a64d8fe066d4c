package coreapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
)

// newEndlessReads returns an API whose reads of escrows wait until a lock on this table ends. Credits
// and balances do not use the table.
func newEndlessReads(t *testing.T) *blockedLedger {
	t.Helper()
	url := ledgerdb.Postgres(t) + "&lock_timeout=0&statement_timeout=0"
	b := newBlockedAPI(t, url, coreapi.Config{Timeout: 5 * time.Minute})
	for _, user := range []string{"user:u1", "user:u2", "user:u3"} {
		b.credit(user, 100)
	}
	return b
}

const lockEscrows = "LOCK TABLE escrows IN ACCESS EXCLUSIVE MODE"

func escrowsOf(user string) string { return "/v1/accounts/" + user + "/escrows" }

// startReads starts n reads of a user's escrows with the user's token. The answers arrive in the
// channel.
func (b *blockedLedger) startReads(user string, n int) <-chan answer {
	b.Helper()
	token := signToken(b.T, user, nil, "")
	answers := make(chan answer, n)
	for range n {
		go func() {
			var a answer
			defer func() { answers <- a }() // also if the request fails the test
			a = b.send(request{path: escrowsOf(user), token: token})
		}()
	}
	return answers
}

// Users read as much as they can, and no read ends. Writes and the reads of services continue. Only
// the reads beyond the bounds are refused.
func TestReadsDoNotDelayWrites(t *testing.T) {
	t.Parallel()
	b := newEndlessReads(t)
	unlock := b.lockWith(lockEscrows)
	defer unlock()
	flood := b.startReads("user:u1", 50)
	b.waitForBlocked("FROM escrows", 4) // half of the slots
	second := b.startReads("user:u2", 1)
	b.waitForBlocked("FROM escrows", 5)
	third := b.startReads("user:u3", 1)
	b.waitForBlocked("FROM escrows", 6) // three quarters of them

	for i := range 20 {
		b.credit(fmt.Sprint("user:writer", i), 10)
		b.checkBalance(fmt.Sprint("user:writer", i), 10, 0)
	}
	for range 46 {
		refused := <-flood
		if refused.status != http.StatusServiceUnavailable || refused.json["code"] != "overloaded" {
			t.Errorf("read beyond the bounds: got %d %s, want 503 overloaded", refused.status, refused.raw)
		}
		if refused.header.Get("Retry-After") == "" {
			t.Error("read beyond the bounds: got no Retry-After")
		}
	}
	b.waitForBlocked("FROM escrows", 6)

	unlock()
	for _, answers := range []<-chan answer{flood, flood, flood, flood, second, third} {
		a := <-answers
		if a.status != http.StatusOK {
			t.Errorf("read after the lock: got %d %s, want 200", a.status, a.raw)
		}
	}
}

// A single reader leaves slots for the other users.
func TestReaderDoesNotDelayOtherReaders(t *testing.T) {
	t.Parallel()
	b := newEndlessReads(t)
	unlock := b.lockWith(lockEscrows)
	defer unlock()
	flood := b.startReads("user:u1", 50)
	b.waitForBlocked("FROM escrows", 4)

	own := signToken(t, "user:u2", nil, "")
	for range 20 {
		b.expect(http.StatusOK, request{path: "/v1/accounts/user:u2/balance", token: own})
	}
	b.expectProblem(http.StatusServiceUnavailable, "overloaded",
		request{path: "/v1/accounts/user:u1/balance", token: signToken(t, "user:u1", nil, "")})
	unlock()
	for range 50 {
		<-flood
	}
}

// The slots of reads whose clients have disconnected are free again, and their queries have ended.
func TestDisconnectFreesTheSlotsOfReads(t *testing.T) {
	t.Parallel()
	b := newEndlessReads(t)
	b.token = signToken(t, "user:u1", nil, "")
	unlock := b.lockWith(lockEscrows)
	defer unlock()
	var disconnects []func()
	for range 4 {
		disconnects = append(disconnects, b.startRequest(http.MethodGet, escrowsOf("user:u1"), "", ""))
	}
	b.waitForBlocked("FROM escrows", 4)
	b.expectProblem(http.StatusServiceUnavailable, "overloaded", request{path: "/v1/accounts/user:u1/balance"})
	for _, disconnect := range disconnects {
		disconnect()
	}
	b.waitForBlocked("FROM escrows", 0)
	b.expect(http.StatusOK, request{path: "/v1/accounts/user:u1/balance"})
}
