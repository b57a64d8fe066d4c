package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/history"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/client"
)

// aclPage is the page with the users of Redis.
const aclPage = "../../docs/redis-acl.md"

// readACL returns the lines of the page's block.
func readACL(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(aclPage)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```acl\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s must have a block ```acl", aclPage)
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

// redisUsers is a Redis with the users of the page. Their passwords are their placeholders.
type redisUsers struct {
	*testing.T
	server *testenv.Server
	admin  *redis.Client
}

func startRedisWithUsers(t *testing.T) *redisUsers {
	t.Helper()
	u := &redisUsers{T: t, server: testenv.RedisServer(t)}
	setup := redis.NewClient(&redis.Options{Addr: u.server.Addr()})
	defer func() { _ = setup.Close() }()
	lines := readACL(t)
	for i := range lines { // the default user last
		words := strings.Fields(lines[len(lines)-1-i])
		args := []any{"acl", "setuser"}
		for _, word := range words[1:] {
			args = append(args, word)
		}
		err := setup.Do(t.Context(), args...).Err()
		if err != nil {
			t.Fatalf("%s: %v", words[1], err)
		}
	}
	u.admin = redis.NewClient(&redis.Options{Addr: u.server.Addr(), Username: "admin", Password: "ADMIN_PASSWORD"})
	t.Cleanup(func() { _ = u.admin.Close() })
	return u
}

// urlOf returns the URL with a user and its password.
func (u *redisUsers) urlOf(user string) string {
	return fmt.Sprintf("redis://%s:%s_PASSWORD@%s/0", user, strings.ToUpper(user), u.server.Addr())
}

// checkNothingRefused requires that no program has done more than its user may.
func (u *redisUsers) checkNothingRefused() {
	u.Helper()
	log, err := u.admin.ACLLog(u.Context(), 100).Result()
	if err != nil {
		u.Fatal(err)
	}
	for _, entry := range log {
		u.Errorf("Redis refused user %s: %s %s %s (%d times)", entry.Username, entry.Reason, entry.Context, entry.Object, entry.Count)
	}
}

// Core, gateway and consumers work with the users of docs/redis-acl.md, also after Redis has lost
// its data.
func TestRedisUsers(t *testing.T) {
	t.Parallel()
	users := startRedisWithUsers(t)
	w := newWorldOn(t, users.urlOf("admin"), "rt")
	w.redisURL = users.urlOf("core")
	core := w.startCore()
	w.redisURL = users.urlOf("gateway")
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	client := w.startClient("of the gateway", []*server{gateway}, "user:u1")
	c := users.startConsumer()
	defer users.checkNothingRefused() // also if the test fails

	a.mustDo(newCredit("user:u1", 100))
	client.waitForSeq("user:u1", 1)
	c.waitForDelivery()
	w.replayDeadLetter(core)
	c.waitForDelivery()
	checkEqual(t, "output of core replay", w.replayToGroup("activity", users.urlOf("core"), "--subscription", "feed"), "1 events were added for the group activity")
	c.waitForDelivery()
	users.readHistory(w.newEventsLedger(core))
	w.callAdmin(gateway, http.MethodPost, "/admin/revoke", `{"account":"user:nobody","expiresAt":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	w.callAdmin(gateway, http.MethodPost, "/admin/disconnect", `{"account":"user:nobody","reason":"test"}`)

	c.close()

	err := users.admin.FlushAll(t.Context()).Err()
	if err != nil {
		t.Fatal(err)
	}
	a.mustDo(newCredit("user:u1", 1))
	client.waitForSeq("user:u1", 2)
	w.waitForHashSeq("user:u1", 2)
	users.checkNothingRefused()
	users.checkRefusals()
	_ = users.admin.ACLLogReset(t.Context())
}

// userConsumer is a subscriber whose handler fails at its first call.
type userConsumer struct {
	*testing.T
	bus       *consumer.Bus
	delivered chan struct{}
	ran       chan error
	rdb       redis.UniversalClient
}

func (u *redisUsers) startConsumer() *userConsumer {
	u.Helper()
	rdb, err := redisconn.Open(u.urlOf("consumer"))
	if err != nil {
		u.Fatal(err)
	}
	b, err := consumer.New(rdb, bus.Config{Group: "activity", Attempts: 1})
	if err != nil {
		u.Fatal(err)
	}
	c := &userConsumer{
		T:         u.T,
		bus:       b,
		rdb:       rdb,
		delivered: make(chan struct{}, 10),
		ran:       make(chan error, 1),
	}
	failed := false
	_, err = b.Subscribe(bus.Subscription{
		ID: "feed",
		Handler: bus.HandlerFunc(func(context.Context, *bus.Event) error {
			c.delivered <- struct{}{}
			if !failed {
				failed = true
				return errors.New("failed once")
			}
			return nil
		}),
	})
	if err != nil {
		u.Fatal(err)
	}
	go func() { c.ran <- b.Run(context.Background()) }()
	return c
}

// readHistory runs a consumer with a subscription that gets the history, and then live events.
func (u *redisUsers) readHistory(ledger *client.Ledger) {
	u.Helper()
	rdb, err := redisconn.Open(u.urlOf("consumer"))
	if err != nil {
		u.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	b, err := consumer.New(rdb, bus.Config{Group: "totals", History: history.FromLedger(ledger)})
	if err != nil {
		u.Fatal(err)
	}
	delivered := make(chan *bus.Event, 10)
	_, err = b.Subscribe(bus.Subscription{
		ID:    "all",
		Since: bus.FromFirstEvent,
		Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
			delivered <- e
			return nil
		}),
	})
	if err != nil {
		u.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- b.Run(context.Background()) }()
	end := sync.OnceValue(func() error { return errors.Join(b.Close(u.Context()), <-ran) })
	defer func() { _ = end() }()
	select {
	case e := <-delivered:
		checkEqual(u, "seq of the first event of the history", e.Seq, 1)
	case <-time.After(patience):
		u.Fatalf("the subscription got no history within %s", patience)
	}
	err = end()
	if err != nil {
		u.Error(err)
	}
}

func (c *userConsumer) waitForDelivery() {
	c.Helper()
	select {
	case <-c.delivered:
	case <-time.After(patience):
		c.Fatalf("the consumer got no event within %s", patience)
	}
}

func (c *userConsumer) close() {
	c.Helper()
	err := errors.Join(c.bus.Close(c.Context()), <-c.ran, c.rdb.Close())
	if err != nil {
		c.Error(err)
	}
}

// replayDeadLetter waits for the dead letter of the consumer and replays it through the core.
func (w *world) replayDeadLetter(core *server) {
	w.Helper()
	var page struct {
		DeadLetters []struct{ ID string }
	}
	w.waitUntil("the event is a dead letter", func() bool {
		body := w.callAdmin(core, http.MethodGet, "/admin/dead-letters?group=activity", "")
		err := json.Unmarshal(body, &page)
		if err != nil {
			w.Fatal(err)
		}
		return len(page.DeadLetters) > 0
	})
	id := url.PathEscape(page.DeadLetters[0].ID)
	w.callAdmin(core, http.MethodPost, "/admin/dead-letters/"+id+"/replay", "")
}

// callAdmin makes a call of an admin API, which must succeed.
func (w *world) callAdmin(s *server, method, path, body string) []byte {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.signToken("operator", nil, auth.ScopeAdmin))
	resp, err := w.http.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.Fatalf("%s %s: got %d %s %v, want 200", method, path, resp.StatusCode, answer, err)
	}
	return answer
}

// checkRefusals requires that each user can do only its own work.
func (u *redisUsers) checkRefusals() {
	u.Helper()
	keys := bus.Keys{}.WithDefaults()
	for user, commands := range map[string][][]any{
		"core":     {{"flushall"}, {"config", "get", "*"}, {"keys", "*"}, {"set", "other:key", "x"}, {"acl", "whoami"}},
		"gateway":  {{"xadd", keys.Stream(0), "*", "a", "b"}, {"hset", keys.BalanceHash("user:u1"), "seq", 9}, {"del", keys.Layout()}, {"publish", "other", "x"}, {"eval", "return 1", 0}},
		"consumer": {{"hset", keys.BalanceHash("user:u1"), "seq", 9}, {"hgetall", keys.BalanceHash("user:u1")}, {"publish", keys.Control(), "x"}, {"get", keys.Revoked()}, {"del", keys.Stream(0)}},
	} {
		u.checkRefused(user, commands)
	}

	anonymous := redis.NewClient(&redis.Options{Addr: u.server.Addr()})
	defer func() { _ = anonymous.Close() }()
	err := anonymous.Ping(u.Context()).Err()
	if err == nil {
		u.Error("a client without a password was accepted")
	}
}

// checkRefused requires that a user may do none of the commands.
func (u *redisUsers) checkRefused(user string, commands [][]any) {
	u.Helper()
	options, err := redis.ParseURL(u.urlOf(user))
	if err != nil {
		u.Fatal(err)
	}
	rdb := redis.NewClient(options)
	defer func() { _ = rdb.Close() }()
	for _, command := range commands {
		err := rdb.Do(u.Context(), command...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			u.Errorf("%s: %v: got error %v, want NOPERM", user, command, err)
		}
	}
}
