package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// frames reads what a client gets, one after the other.
type frames struct {
	w       *world
	c       *websocket.Conn
	pending []string
}

type serverFrame struct {
	Op       string
	Seq      int64
	Accounts []struct {
		Seq       int64
		Recovered bool
		Snapshot  struct{ AvailableBalance int64 }
	}
}

func (f *frames) send(frame string) {
	f.w.Helper()
	if err := f.c.Write(f.w.Context(), websocket.MessageText, []byte(frame)); err != nil {
		f.w.Fatal(err)
	}
}

func (f *frames) next(op string) (frame serverFrame) {
	f.w.Helper()
	if len(f.pending) == 0 {
		_, message, err := f.c.Read(f.w.Context())
		if err != nil {
			f.w.Fatal(err)
		}
		f.pending = strings.Split(string(message), "\n")
	}
	text := f.pending[0]
	f.pending = f.pending[1:]
	if err := json.Unmarshal([]byte(text), &frame); err != nil || frame.Op != op {
		f.w.Fatalf("%s: want %s, %v", text, op, err)
	}
	return frame
}

// Readiness names all that needs Redis, and each when it is there again.
func TestReadinessWithoutRedis(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	ready := func() reply { return w.get(w.admin+"/readyz", "") }
	for range 2 {
		w.untilReady()
		srv.Kill()
		w.until("not ready", ready, func(r reply) bool {
			checks, _ := r.json["checks"].(map[string]any)
			good := r.status == http.StatusServiceUnavailable
			for _, name := range []string{"redis", "streams", "control"} {
				good = good && checks[name] != "ok"
			}
			return good && checks["core"] == "ok"
		})
		srv.Start()
	}
	w.untilReady()
}

// While Redis is away nothing that it told before passes for the state of an account, and
// when it is back all is as before.
func TestNothingOldWhileRedisIsAway(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	w.untilReady()
	own := w.sign("user:u1", "")
	balance := func() reply { return w.get(w.url+"/v1/accounts/user:u1/balance", own) }
	from := func(source string, available float64) func(reply) bool {
		return func(r reply) bool {
			return r.status == http.StatusOK && r.header.Get("X-Balance-Source") == source && r.json["availableBalance"] == available
		}
	}
	w.credit("user:u1", 100, "k1")
	w.until("from redis", balance, from("redis", 100))
	n := &node{w, w.url, w.admin, w.stop}
	c, _ := n.dial(own)
	f := &frames{w: w, c: c}
	f.send(`{"op":"subscribe","sub":"before"}`)
	if a := f.next("subscribed").Accounts[0]; a.Seq != 1 || a.Snapshot.AvailableBalance != 100 {
		t.Fatalf("before: %+v", a)
	}

	for round, seq := 0, int64(1); round < 2; round++ {
		srv.Kill()
		w.until("from the core", balance, from("core", float64(100*seq)))
		w.credit("user:u1", 100, "k"+string(rune('a'+round)))
		seq++
		if r := balance(); !from("core", float64(100*seq))(r) {
			t.Errorf("without redis: %d %v %v", r.status, r.header, r.json)
		}
		f.send(`{"op":"subscribe","sub":"snapshot"}`)
		if a := f.next("subscribed").Accounts[0]; a.Seq != seq || a.Snapshot.AvailableBalance != 100*seq {
			t.Errorf("snapshot without redis: %+v", a)
		}
		f.send(`{"op":"unsubscribe","sub":"snapshot"}`)
		f.next("unsubscribed")
		f.send(`{"op":"subscribe","sub":"resumed","after":{"user:u1":1}}`)
		if a := f.next("subscribed").Accounts[0]; a.Seq != 1 || !a.Recovered {
			t.Errorf("resumed without redis: %+v", a)
		}
		for s := int64(2); s <= seq; s++ {
			if e := f.next("event"); e.Seq != s {
				t.Errorf("resumed: seq %d, want %d", e.Seq, s)
			}
		}
		f.send(`{"op":"unsubscribe","sub":"resumed"}`)
		f.next("unsubscribed")
		srv.Start()
		w.until("from redis again", balance, from("redis", float64(100*seq)))
		if e := f.next("event"); e.Seq != seq {
			t.Errorf("who was there before gets %d, want %d", e.Seq, seq)
		}
	}
}
