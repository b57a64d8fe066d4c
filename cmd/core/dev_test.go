package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func dev(t *testing.T, data string, more ...string) *process {
	t.Helper()
	const free = "127.0.0.1:0"
	p := launch(t, append([]string{"dev", "--data", data, "--http", free, "--gateway", free, "--admin", free,
		"--gateway-admin", free, "--redis", free}, more...)...)
	p.out.wait(t, `^ready$`)
	return p
}

// variable is what an export line of the greeting sets.
func (p *process) variable(name string) string {
	p.Helper()
	return strings.TrimPrefix(p.out.wait(p.T, `^  export `+name+`=\S+$`), "  export "+name+"=")
}

func (p *process) url(label string) string {
	p.Helper()
	return regexp.MustCompile(`(http|ws)://\S+`).FindString(p.out.wait(p.T, `^  `+label+` .*$`))
}

var (
	curlURL    = regexp.MustCompile(`curl -[sN] (\S+)`)
	curlHeader = regexp.MustCompile(`-H "([^:]+): ([^"]+)"`)
	curlData   = regexp.MustCompile(`-d '([^']+)'`)
)

// watch does what the greeting's curl -N does, until the stream has said what the balance is.
func (p *process) watch() {
	p.Helper()
	line := p.out.wait(p.T, `^  curl -N .*$`)
	ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, curlURL.FindStringSubmatch(line)[1], nil)
	if err != nil {
		p.Fatal(err)
	}
	header := curlHeader.FindStringSubmatch(strings.ReplaceAll(line, "$USER_TOKEN", p.variable("USER_TOKEN")))
	req.Header.Set(header[1], header[2])
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), `data: {"op":"subscribed"`) && strings.Contains(lines.Text(), `"account":"user:demo"`) {
			return
		}
	}
	p.Fatalf("%s: %s, ended with %v", line, resp.Status, lines.Err())
}

// paste does what the greeting's other curl commands do, one after the other, and
// returns their answers.
func (p *process) paste() []map[string]any {
	p.Helper()
	escrow, seq := "", 0.0
	var answers []map[string]any
	for _, line := range regexp.MustCompile(`(?m)^  (ESCROW=\$\()?curl -s .*$`).FindAllString(p.out.String(), -1) {
		line = strings.NewReplacer("$TOKEN", p.variable("TOKEN"), "$USER_TOKEN", p.variable("USER_TOKEN"),
			"$RANDOM$RANDOM", time.Now().Format("150405.000000000"), "$ESCROW", escrow).Replace(line)
		method, body := http.MethodGet, ""
		if m := curlData.FindStringSubmatch(line); m != nil {
			method, body = http.MethodPost, m[1]
		} else if seq > 0 {
			// What a gateway answers follows the ledger at a short distance.
			p.out.wait(p.T, fmt.Sprintf(`user:demo +seq %v `, seq))
		}
		header := http.Header{}
		for _, h := range curlHeader.FindAllStringSubmatch(line, -1) {
			header.Set(h[1], h[2])
		}
		status, answer := p.request(method, curlURL.FindStringSubmatch(line)[1], header, body)
		if status >= 300 {
			p.Fatalf("%s: %d %v", line, status, answer)
		}
		if id, ok := answer["escrowId"].(string); ok {
			escrow = id
		}
		if balances, ok := answer["balances"].([]any); ok {
			seq, _ = balances[0].(map[string]any)["seq"].(float64)
		}
		answers = append(answers, answer)
	}
	return answers
}

// socket is a WebSocket client of user:demo.
type socket struct {
	*testing.T
	conn    *websocket.Conn
	pending []map[string]any
}

func (p *process) connect() *socket {
	p.Helper()
	conn, resp, err := websocket.Dial(p.Context(), p.url("WebSocket"), &websocket.DialOptions{
		Subprotocols: []string{"wallet.v1"},
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + p.variable("USER_TOKEN")}},
	})
	if err != nil {
		p.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	p.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{T: p.T, conn: conn}
}

func (s *socket) send(frame string) {
	s.Helper()
	if err := s.conn.Write(s.Context(), websocket.MessageText, []byte(frame)); err != nil {
		s.Fatal(err)
	}
}

// next returns the next frame with the op.
func (s *socket) next(op string) map[string]any {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	for {
		for len(s.pending) > 0 {
			f := s.pending[0]
			s.pending = s.pending[1:]
			if f["op"] == op {
				return f
			}
		}
		_, msg, err := s.conn.Read(ctx)
		if err != nil {
			s.Fatalf("wait for %s: %v", op, err)
		}
		for line := range strings.SplitSeq(string(msg), "\n") {
			var f map[string]any
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				s.Fatalf("frame %q: %v", line, err)
			}
			s.pending = append(s.pending, f)
		}
	}
}

// subscribe returns the account's part of the subscribed frame.
func (s *socket) subscribe() map[string]any {
	s.Helper()
	s.send(`{"op":"subscribe","sub":"wallet"}`)
	accounts, _ := s.next("subscribed")["accounts"].([]any)
	if len(accounts) != 1 {
		s.Fatalf("subscribed to %v", accounts)
	}
	a, _ := accounts[0].(map[string]any)
	return a
}

func TestDev(t *testing.T) {
	data := t.TempDir()
	p := dev(t, data)
	ws := p.connect()
	ws.subscribe()
	answers := p.paste()
	if len(answers) != 5 {
		t.Fatalf("%d commands to paste, want 5", len(answers))
	}
	// credit: 1 event; hold: 3; settle: 2.
	for _, want := range []string{"wallet.balance_updated", "wallet.escrow_held", "wallet.balance_updated", "wallet.balance_updated",
		"wallet.escrow_settled", "wallet.balance_updated"} {
		f := ws.next("event")
		event, _ := f["event"].(map[string]any)
		if event["eventType"] != want {
			t.Errorf("seq %v is a %v, want %s", f["seq"], event["eventType"], want)
		}
	}
	if last := answers[4]; last["availableBalance"] != 1400.0 || last["escrowBalance"] != 0.0 || last["seq"] != 7.0 {
		t.Errorf("balance at the gateway: %v", last)
	}
	p.watch()
	p.out.wait(t, `user:demo +seq 7 +balance_updated +escrow 100 → 0 +performance_completed +\d+ ms$`)
	if status, page := p.request(http.MethodGet, p.url("Live page"), nil, ""); status != http.StatusOK || !strings.Contains(page["text"].(string), "Points, live") {
		t.Errorf("live page: %d %v", status, page)
	}
	if status, doc := p.request(http.MethodGet, strings.TrimSuffix(p.url("Live page"), "/")+"/openapi.json", nil, ""); status != http.StatusOK || doc["openapi"] != "3.1.0" {
		t.Errorf("document: %d %v", status, doc["openapi"])
	}
	p.stop()

	// Redis is empty now, the ledger is not.
	p = dev(t, data)
	ws = p.connect()
	a := ws.subscribe()
	if snapshot, _ := a["snapshot"].(map[string]any); a["seq"] != 7.0 || snapshot["availableBalance"] != 1400.0 {
		t.Errorf("after a restart: subscribed %v", a)
	}
	answers = p.paste()
	if first := answers[0]; first["availableBalance"] != 1400.0 {
		t.Errorf("after a restart: balance %v", first)
	}
	for want := 8.0; want <= 13; want++ {
		if f := ws.next("event"); f["seq"] != want {
			t.Fatalf("after a restart: seq %v, want %v", f["seq"], want)
		}
	}
	if last := answers[4]; last["availableBalance"] != 1800.0 || last["seq"] != 13.0 {
		t.Errorf("after a restart: balance at the gateway %v", last)
	}
	p.stop()
}

func TestDevTraffic(t *testing.T) {
	p := dev(t, t.TempDir(), "--traffic", "200")
	for _, event := range []string{"escrow_held", "escrow_settled", "escrow_refunded", "escrow_partial_settled"} {
		p.out.wait(t, `seq \d+ +`+event)
	}
	p.stop()
	if err := p.err.String(); strings.Contains(err, "ERR") || strings.Contains(err, "core:") {
		t.Errorf("stderr: %s", err)
	}
}
