package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestCoreDiesBetweenCommitAndPublish holds the network to Redis at the two moments that count, and kills the core there.
func TestCoreDiesBetweenCommitAndPublish(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]struct {
		pause     func(*testenv.Proxy)
		published bool // when the core dies
		heir      bool // another core is running; the dead one is not started again
	}{
		"before Redis has the event":                            {(*testenv.Proxy).PauseRequests, false, false},
		"before the core knows that Redis does":                 {(*testenv.Proxy).PauseReplies, true, false},
		"before Redis has the event, beside another":            {(*testenv.Proxy).PauseRequests, false, true},
		"before the core knows that Redis does, beside another": {(*testenv.Proxy).PauseReplies, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			link := w.proxy(w.redisURL)
			core := w.core("--redis-url", w.through(link, w.redisURL))
			gateway := w.gateway(core.url())
			a := w.api(core)
			const user = "user:u1"
			c := w.client("app", []*server{gateway}, user)
			a.do(credit(user, 1000))
			c.reaches(user, 1)
			w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
			heir := core
			if pause.heir {
				heir = w.core()
			}

			pause.pause(link)
			wr := hold(user, 100)
			got := a.do(wr) // a commit does not wait for Redis
			stream := w.consumer()
			if pause.published {
				c.reaches(user, 4)
			} else if stream.drain(); len(stream.events[user]) != 1 && !pause.heir {
				t.Errorf("the stream has %d entries, want the credit's", len(stream.events[user]))
			}
			if n := w.outbox(); n != 1 && !pause.heir { // an heir may be quick
				t.Errorf("%d rows in the outbox, want the hold's", n)
			}
			core.kill()
			link.Cut() // what was on its way is lost
			if !pause.heir {
				core.start()
			}
			a = w.api(heir)

			w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
			if again := a.do(wr); !again.replayed || again.receipt.TransactionID != got.receipt.TransactionID {
				t.Errorf("the hold's key after the crash: %+v, before %+v", again, got)
			}
			a.do(refund(got.receipt.EscrowID, 100))
			c.reaches(user, 7)
			w.allAgree(a, stream, []string{user}, c)
		})
	}
}

// names are accounts of one kind.
func names(kind string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = kind + ":" + string(rune('a'+i))
	}
	return list
}

func TestCoreDiesUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	stream := w.consumer()
	stop := stream.follow()
	l := w.load(16, []*api{a}, users, models)
	for range 3 {
		l.answers(100)
		core.kill()
		core.start()
	}
	l.answers(100)
	l.settle(a)
	stop()
	w.allAgree(a, stream, l.accounts(), c)
}

// TestCoreStopsUnderLoad stops the core as a deployment does: what was answered is done, what was done is published
// before the process ends, and what was not answered can be found under its key.
func TestCoreStopsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.load(16, []*api{a}, users, models)
	for range 2 {
		l.answers(100)
		core.stop()
		if n := w.outbox(); n != 0 {
			t.Errorf("%d transactions were not published when the core had stopped", n)
		}
		core.start()
	}
	l.answers(100)
	l.settle(a)
	w.allAgree(a, w.consumer(), l.accounts(), c)
}

// TestTwoCores has two cores work on the same few accounts.
func TestTwoCores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.core(), w.core()
	gateway := w.gateway(first.url())
	apis := []*api{w.api(first), w.api(second)}
	users, models := names("user", 2), names("model", 1)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	stream := w.consumer()
	stop := stream.follow()
	l := w.load(16, apis, users, models)
	l.answers(300)

	// The same request at both at once has one effect.
	for range 20 {
		wr := hold(users[0], 1)
		receipts := make(chan answer, 2)
		for _, a := range apis {
			l.wg.Go(func() {
				got, _ := l.send(a, wr)
				receipts <- got
			})
		}
		one, other := <-receipts, <-receipts
		if one.receipt.TransactionID != other.receipt.TransactionID || one.replayed == other.replayed {
			t.Errorf("one key at two cores: %+v and %+v", one, other)
		}
		l.forget(wr.key)
	}
	second.kill()
	l.answers(100)
	second.start()
	l.answers(100)
	l.settle(apis[1])
	stop()
	w.allAgree(apis[0], stream, l.accounts(), c)
}

// TestPostgresAway cuts the core off its database: writes are refused in time, gateways go on with what they have.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.proxy(w.databaseURL)
	core := w.core("--database-url", w.through(link, w.databaseURL))
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.load(16, []*api{a}, users, models)
	l.answers(100)

	link.PauseReplies() // the database acts, and nobody hears of it
	wr := hold(users[0], 7)
	for _, how := range []string{"silent", "gone"} {
		begin := time.Now()
		got, err := a.send(wr)
		if err != nil || got.status != 503 || (got.code != "unavailable" && got.code != "overloaded") {
			t.Errorf("database %s: status %d %s, %v", how, got.status, got.code, err)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("database %s: refused after %s", how, took)
		}
		fresh := w.client("fresh, database "+how, []*server{gateway}, users[1])
		fresh.stop()
		w.get(gateway.url()+"/v1/accounts/"+users[1]+"/balance", c.token, 200)
		link.Cut()
	}
	if !gateway.ready() {
		t.Error("the gateway is not ready without the database")
	}
	link.Resume()
	l.answers(100)
	if first, second := a.do(wr), a.do(wr); first.receipt.TransactionID != second.receipt.TransactionID || !second.replayed {
		t.Errorf("one key has the receipts %+v and %+v", first, second)
	}
	l.stop()
	l.written = append(l.written, &written{write: wr})
	l.settle(a)
	w.allAgree(a, w.consumer(), l.accounts(), c)
	if codes := c.ended(); len(codes) > 0 {
		t.Errorf("the client lost its connection: %v", codes)
	}
}

// TestPostgresRestarts ends the core's database sessions again and again, at any moment of a transaction.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.proxy(w.databaseURL)
	core := w.core("--database-url", w.through(link, w.databaseURL))
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.load(16, []*api{a}, users, models)
	for range 10 {
		l.answers(20)
		w.count(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'realtime-core'`)
		l.answers(20)
		link.PauseReplies()
		link.Cut()
		link.Resume()
	}
	l.answers(50)
	l.settle(a)
	w.allAgree(a, w.consumer(), l.accounts(), c)
}
