package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestStreamTrimmedBehindTheGateway has a gateway without its link to Redis for longer than it bears, while entries come and are
// trimmed away. One account has a further event afterwards, the other has none.
func TestStreamTrimmedBehindTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.proxy(w.redisURL)
	core := w.core()
	gateway := w.gateway(core.url(), "--redis-url", w.through(link, w.redisURL))
	a := w.api(core)
	accounts := []string{"user:busy", "user:quiet"}
	earn := func(n int) {
		for range n {
			for _, account := range accounts {
				a.do(credit(account, 10))
			}
		}
	}
	earn(3)
	c := w.client("app", []*server{gateway}, accounts...)
	stream := w.consumer()
	link.PauseRequests()
	link.Cut()
	earn(50)
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	stream.drain()
	for _, account := range accounts {
		if err := w.rdb.XTrimMaxLen(t.Context(), w.stream(partition(account)), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the gateway knows that Redis is away", func() bool { return !gateway.ready() })
	// It serves whom it has and who comes, from the core.
	fresh := w.client("fresh", []*server{gateway}, accounts...)
	link.Cut()
	link.Resume()
	c.reaches("user:quiet", 53)
	a.do(credit("user:busy", 10))
	c.reaches("user:busy", 54)
	w.allAgree(a, stream, accounts, c, fresh)
	if codes := c.ended(); len(codes) > 0 {
		t.Errorf("the client lost its connection: %v", codes)
	}
}

// TestStreamTrimmedWhileTheGatewayStoodStill has a gateway that stands still, as a machine that is moved does, while entries come and
// are trimmed away. Its link to Redis never fails. The stream has an entry left, so that only the account without further
// events has lost all that would tell.
func TestStreamTrimmedWhileTheGatewayStoodStill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	busy, quiet := "user:busy", ""
	for n := 0; quiet == ""; n++ {
		if other := fmt.Sprintf("user:quiet%d", n); partition(other) == partition(busy) {
			quiet = other
		}
	}
	earn := func(account string, n int) {
		for range n {
			a.do(credit(account, 10))
		}
	}
	earn(quiet, 3)
	earn(busy, 3)
	c := w.client("app", []*server{gateway}, busy, quiet)
	stream := w.consumer()
	if err := gateway.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	earn(quiet, 20)
	earn(busy, 20)
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	stream.drain()
	if err := w.rdb.XTrimMaxLen(t.Context(), w.stream(partition(busy)), 1).Err(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	w.eventually("a read is late", func() bool { return time.Since(stopped) > 1200*time.Millisecond })
	if err := gateway.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.reaches(quiet, 23)
	c.reaches(busy, 23)
	w.allAgree(a, stream, []string{busy, quiet}, c)
}
