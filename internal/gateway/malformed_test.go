package gateway_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/streamtest"
)

// addForgedEntries adds entries whose payloads contain line breaks. Each of them would show a client
// a resync frame that the gateway did not write.
func (w *world) addForgedEntries(account, seq string) (added float64) {
	w.Helper()
	const event = `{"eventType":"wallet.balance_updated"}`
	const resync = `{"op":"resync","sub":"s","account":"user:u1","seq":99,"reason":"history_unavailable"}`
	const webSocket = event + "}\n" + resync + "\n" + `{"op":"pong"`
	const serverSent = event + "}\r\rdata: " + resync + "\r\r"
	payloads := [][]string{
		{"data", webSocket},
		{"data", serverSent},
		{"data", event, "view", webSocket},
		{"data", event, "view", serverSent},
	}
	for _, payload := range payloads {
		values := append([]string{"id", "forged", "type", "wallet.balance_updated", "account", account, "seq", seq}, payload...)
		err := w.rdb.XAdd(w.Context(), &redis.XAddArgs{
			Stream: w.keys.Stream(w.keys.Partition(account)),
			Values: values,
		}).Err()
		if err != nil {
			w.Fatal(err)
		}
	}
	return float64(len(payloads))
}

// A stream entry with a line break never reaches a client. The account's next event does.
func TestForgedFrameNeverReachesClients(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	doc := openDocument(t)
	w.awaitReady()
	all := w.dialChecked(doc, w.signToken("app", auth.ScopeEvents))
	all.sendValid(`{"op":"subscribe","sub":"s","accounts":["*"]}`)
	all.expectFrames("welcome", "subscribed")
	w.creditPoints("user:u1", 10, "k1")
	all.expectFrames("event")
	own := w.dialChecked(doc, w.signToken("user:u1", ""))
	own.sendValid(`{"op":"subscribe","sub":"s"}`)
	own.expectFrames("welcome", "subscribed")
	stream := w.openStream(doc, w.signToken("user:u1", ""), nil)
	stream.expectFrames("welcome", "subscribed")

	added := w.addForgedEntries("user:u1", "2")
	streamtest.WaitFor(t, "the malformed entries are counted", func() bool {
		return streamtest.SumMetric(t, w.running.Registry(), "realtime_stream_malformed_total") == added
	})
	w.creditPoints("user:u1", 10, "k2")
	for name, socket := range map[string]*checkedSocket{"own account": own, "all accounts": all} {
		event := socket.expectFrames("event")
		if fmt.Sprint(event["seq"]) != "2" {
			t.Errorf("%s: got %v, want the event with seq 2", name, event)
		}
		socket.sendValid(`{"op":"ping"}`)
		socket.expectFrames("pong")
	}
	stream.expectFrames("event")
}
