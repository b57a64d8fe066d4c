package ws

import (
	"fmt"
	"testing"
)

func TestHoldToScreen(t *testing.T) {
	g := newGateway(t, Config{Gateway: "g1"})
	g.deliver("user:u1", 3)
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"wallet","accounts":["user:u1"]}`)
	f := c.expect("subscribed")
	a := subscribedTo(f, 0)
	if f["sub"] != "wallet" || a["account"] != "user:u1" || a["seq"] != 3.0 || a["recovered"] != false {
		t.Fatalf("subscribed: %v", f)
	}
	snapshot, _ := a["snapshot"].(map[string]any)
	if snapshot["availableBalance"] != 30.0 || snapshot["seq"] != 3.0 {
		t.Fatalf("snapshot: %v", a)
	}
	g.deliver("user:u1", 40)
	c.expectEvents("wallet", "user:u1", 4, 43)
	c.send(`{"op":"ping"}`)
	c.expect("pong")
	c.send(`{"op":"unsubscribe","sub":"wallet"}`)
	if f := c.expect("unsubscribed"); f["sub"] != "wallet" {
		t.Fatal(f)
	}
	g.deliver("user:u1", 1)
	c.send(`{"op":"ping"}`)
	c.expect("pong")
	c.send(fmt.Sprintf(`{"op":"subscribe","sub":"wallet","accounts":["user:u1"],"after":{"user:u1":%d}}`, 40))
	a = subscribedTo(c.expect("subscribed"), 0)
	if a["seq"] != 40.0 || a["recovered"] != true || a["snapshot"] != nil {
		t.Fatal(a)
	}
	c.expectEvents("wallet", "user:u1", 41, 44)
}
