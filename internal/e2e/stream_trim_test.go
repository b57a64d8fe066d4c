package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestStreamTrimmedWhileTheGatewayIsDisconnected disconnects a gateway from Redis until it notices,
// while entries are added and trimmed away. One account has another event afterwards, the other one
// has none.
func TestStreamTrimmedWhileTheGatewayIsDisconnected(t *testing.T) {
	t.Parallel()
	const busy = "user:busy"
	const quiet = "user:quiet"
	w := newWorld(t)
	link, redisURL := w.startProxy(w.redisURL)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL(), "--redis-url", redisURL)
	a := w.newAPI(core)
	a.creditTimes(3, busy, quiet)
	c := w.startClient("app", []*server{gateway}, busy, quiet)
	reader := w.newStreamReader()
	link.PauseRequests()
	link.Cut()
	a.creditTimes(50, busy, quiet)
	w.waitUntilPublished()
	reader.readAll()
	w.trimStream(busy, 0)
	w.trimStream(quiet, 0)
	w.waitUntil("the gateway notices that Redis is unreachable", func() bool { return !gateway.isReady() })
	// From the core the gateway serves its clients, and new ones.
	fresh := w.startClient("fresh", []*server{gateway}, busy, quiet)
	link.Cut()
	link.Resume()
	c.waitForSeq(quiet, 53)
	a.mustDo(newCredit(busy, 10))
	c.waitForSeq(busy, 54)
	w.checkAgreement(a, reader, []string{busy, quiet}, c, fresh)
	c.checkStayedConnected()
}

// TestStreamTrimmedWhileTheGatewayIsSuspended suspends a gateway, as the migration of a virtual
// machine does, while entries are added and trimmed away. Its link to Redis never fails. The stream
// keeps one entry, so only the account without another event has lost all of its entries.
func TestStreamTrimmedWhileTheGatewayIsSuspended(t *testing.T) {
	t.Parallel()
	const busy = "user:busy"
	quiet := otherAccountInStreamOf(busy)
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	a.creditTimes(3, quiet)
	a.creditTimes(3, busy)
	c := w.startClient("app", []*server{gateway}, busy, quiet)
	reader := w.newStreamReader()
	err := gateway.process.Signal(syscall.SIGSTOP)
	if err != nil {
		t.Fatal(err)
	}
	a.creditTimes(20, quiet)
	a.creditTimes(20, busy)
	w.waitUntilPublished()
	reader.readAll()
	w.trimStream(busy, 1)
	suspended := time.Now()
	w.waitUntil("a read of the gateway is late", func() bool { return time.Since(suspended) > 1200*time.Millisecond })
	err = gateway.process.Signal(syscall.SIGCONT)
	if err != nil {
		t.Fatal(err)
	}
	c.waitForSeq(quiet, 23)
	c.waitForSeq(busy, 23)
	w.checkAgreement(a, reader, []string{busy, quiet}, c)
}

// otherAccountInStreamOf returns another account whose events are in the same stream.
func otherAccountInStreamOf(account string) string {
	for n := 0; ; n++ {
		other := fmt.Sprintf("user:quiet%d", n)
		if partitionOf(other) == partitionOf(account) {
			return other
		}
	}
}
