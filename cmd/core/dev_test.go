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

func launchDev(t *testing.T, data string, args ...string) *process {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	p := launchCommand(t, append([]string{
		"dev",
		"--data", data,
		"--http", anyPort,
		"--gateway", anyPort,
		"--admin", anyPort,
		"--gateway-admin", anyPort,
		"--redis", anyPort,
	}, args...)...)
	p.out.awaitMatch(t, `^ready$`)
	return p
}

// exportedVariable returns the value of an export line of the greeting.
func (p *process) exportedVariable(name string) string {
	p.Helper()
	line := p.out.awaitMatch(p.T, `^  export `+name+`=\S+$`)
	return strings.TrimPrefix(line, "  export "+name+"=")
}

// greetingURL returns the URL behind a label of the greeting.
func (p *process) greetingURL(label string) string {
	p.Helper()
	return regexp.MustCompile(`(http|ws)://\S+`).FindString(p.out.awaitMatch(p.T, `^  `+label+` .*$`))
}

var (
	curlURL    = regexp.MustCompile(`curl -[sN] (\S+)`)
	curlHeader = regexp.MustCompile(`-H "([^:]+): ([^"]+)"`)
	curlData   = regexp.MustCompile(`-d '([^']+)'`)
	curlLine   = regexp.MustCompile(`(?m)^  (ESCROW=\$\()?curl -s .*$`)
)

// awaitServerSentBalance runs the greeting's curl -N until the stream sends the frame subscribed.
func (p *process) awaitServerSentBalance() {
	p.Helper()
	line := p.out.awaitMatch(p.T, `^  curl -N .*$`)
	ctx, cancel := context.WithTimeout(p.Context(), testTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, curlURL.FindStringSubmatch(line)[1], nil)
	if err != nil {
		p.Fatal(err)
	}
	header := curlHeader.FindStringSubmatch(strings.ReplaceAll(line, "$USER_TOKEN", p.exportedVariable("USER_TOKEN")))
	req.Header.Set(header[1], header[2])
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		isSubscribed := strings.HasPrefix(lines.Text(), `data: {"op":"subscribed"`)
		if isSubscribed && strings.Contains(lines.Text(), `"account":"user:demo"`) {
			return
		}
	}
	p.Fatalf("%s: got status %s and the end of the stream (%v), want the frame subscribed", line, resp.Status, lines.Err())
}

// pasteCommands runs the greeting's other curl commands one after the other and returns their
// answers.
func (p *process) pasteCommands() []map[string]any {
	p.Helper()
	escrow := ""
	seq := 0.0
	var answers []map[string]any
	for _, line := range curlLine.FindAllString(p.out.String(), -1) {
		line = strings.NewReplacer(
			"$TOKEN", p.exportedVariable("TOKEN"),
			"$USER_TOKEN", p.exportedVariable("USER_TOKEN"),
			"$RANDOM$RANDOM", time.Now().Format("150405.000000000"),
			"$ESCROW", escrow,
		).Replace(line)
		isRead := curlData.FindStringSubmatch(line) == nil
		if isRead && seq > 0 {
			// A gateway's answer follows the ledger with a short delay.
			p.out.awaitMatch(p.T, fmt.Sprintf(`user:demo +seq %v `, seq))
		}
		answer := p.runCurl(line)
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

// runCurl makes the request of a curl command, which must succeed.
func (p *process) runCurl(line string) map[string]any {
	p.Helper()
	method := http.MethodGet
	body := ""
	if data := curlData.FindStringSubmatch(line); data != nil {
		method = http.MethodPost
		body = data[1]
	}
	header := http.Header{}
	for _, h := range curlHeader.FindAllStringSubmatch(line, -1) {
		header.Set(h[1], h[2])
	}
	status, answer := p.request(method, curlURL.FindStringSubmatch(line)[1], header, body)
	if status >= 300 {
		p.Fatalf("%s: got %d %v", line, status, answer)
	}
	return answer
}

// socket is a WebSocket client of user:demo.
type socket struct {
	*testing.T
	conn    *websocket.Conn
	pending []map[string]any
}

func (p *process) dialSocket() *socket {
	p.Helper()
	conn, resp, err := websocket.Dial(p.Context(), p.greetingURL("WebSocket"), &websocket.DialOptions{
		Subprotocols: []string{"wallet.v1"},
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + p.exportedVariable("USER_TOKEN")}},
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

func (s *socket) sendFrame(frame string) {
	s.Helper()
	err := s.conn.Write(s.Context(), websocket.MessageText, []byte(frame))
	if err != nil {
		s.Fatal(err)
	}
}

// awaitFrame returns the next frame with the op. It skips other frames.
func (s *socket) awaitFrame(op string) map[string]any {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), testTimeout)
	defer cancel()
	for {
		for len(s.pending) > 0 {
			frame := s.pending[0]
			s.pending = s.pending[1:]
			if frame["op"] == op {
				return frame
			}
		}
		_, message, err := s.conn.Read(ctx)
		if err != nil {
			s.Fatalf("wait for %s: %v", op, err)
		}
		for line := range strings.SplitSeq(string(message), "\n") {
			var frame map[string]any
			err := json.Unmarshal([]byte(line), &frame)
			if err != nil {
				s.Fatalf("frame %q: %v", line, err)
			}
			s.pending = append(s.pending, frame)
		}
	}
}

// subscribe returns the account of the frame subscribed.
func (s *socket) subscribe() map[string]any {
	s.Helper()
	s.sendFrame(`{"op":"subscribe","sub":"wallet"}`)
	accounts, _ := s.awaitFrame("subscribed")["accounts"].([]any)
	if len(accounts) != 1 {
		s.Fatalf("subscribed accounts: got %v, want one", accounts)
	}
	account, _ := accounts[0].(map[string]any)
	return account
}

// expectBalance checks a balance that a gateway answered.
func expectBalance(t *testing.T, balance map[string]any, available, seq float64) {
	t.Helper()
	if got := balance["availableBalance"]; got != available {
		t.Errorf("available balance: got %v, want %v", got, available)
	}
	if got := balance["escrowBalance"]; got != 0.0 {
		t.Errorf("escrow balance: got %v, want 0", got)
	}
	if got := balance["seq"]; got != seq {
		t.Errorf("seq of the balance: got %v, want %v", got, seq)
	}
}

func TestDevGreetingWorks(t *testing.T) {
	p := launchDev(t, t.TempDir())
	ws := p.dialSocket()
	ws.subscribe()
	answers := p.pasteCommands()
	if len(answers) != 5 {
		t.Fatalf("commands to paste: got %d, want 5", len(answers))
	}
	// The credit has one event, the hold three, the settlement two.
	for _, want := range []string{
		"wallet.balance_updated",
		"wallet.escrow_held", "wallet.balance_updated", "wallet.balance_updated",
		"wallet.escrow_settled", "wallet.balance_updated",
	} {
		frame := ws.awaitFrame("event")
		event, _ := frame["event"].(map[string]any)
		if got := event["eventType"]; got != want {
			t.Errorf("type of event %v: got %v, want %s", frame["seq"], got, want)
		}
	}
	expectBalance(t, answers[4], 1400, 7)
	p.awaitServerSentBalance()
	p.out.awaitMatch(t, `user:demo +seq 7 +balance_updated +escrow 100 → 0 +performance_completed +\d+ ms$`)
	p.stop()
}

func TestDevServesPages(t *testing.T) {
	p := launchDev(t, t.TempDir())
	page := p.greetingURL("Live page")
	status, answer := p.request(http.MethodGet, page, nil, "")
	if status != http.StatusOK {
		t.Errorf("status of the live page: got %d, want 200", status)
	}
	if text, _ := answer["text"].(string); !strings.Contains(text, "Points, live") {
		t.Errorf("live page: got %s", text)
	}
	status, document := p.request(http.MethodGet, strings.TrimSuffix(page, "/")+"/openapi.json", nil, "")
	if status != http.StatusOK {
		t.Errorf("status of the OpenAPI document: got %d, want 200", status)
	}
	if got := document["openapi"]; got != "3.1.0" {
		t.Errorf("openapi of the document: got %v, want 3.1.0", got)
	}
	p.stop()
}

// After a restart Redis is empty, and the ledger still has its data.
func TestDevRestarts(t *testing.T) {
	data := t.TempDir()
	p := launchDev(t, data)
	p.pasteCommands()
	p.stop()

	p = launchDev(t, data)
	ws := p.dialSocket()
	account := ws.subscribe()
	if got := account["seq"]; got != 7.0 {
		t.Errorf("subscribed seq: got %v, want 7", got)
	}
	snapshot, _ := account["snapshot"].(map[string]any)
	if got := snapshot["availableBalance"]; got != 1400.0 {
		t.Errorf("available balance of the snapshot: got %v, want 1400", got)
	}
	answers := p.pasteCommands()
	if got := answers[0]["availableBalance"]; got != 1400.0 {
		t.Errorf("available balance of the ledger: got %v, want 1400", got)
	}
	for want := 8.0; want <= 13; want++ {
		frame := ws.awaitFrame("event")
		if got := frame["seq"]; got != want {
			t.Fatalf("seq of the event: got %v, want %v", got, want)
		}
	}
	expectBalance(t, answers[4], 1800, 13)
	p.stop()
}

func TestDevTraffic(t *testing.T) {
	p := launchDev(t, t.TempDir(), "--traffic", "200")
	for _, event := range []string{"escrow_held", "escrow_settled", "escrow_refunded", "escrow_partial_settled"} {
		p.out.awaitMatch(t, `seq \d+ +`+event)
	}
	p.stop()
	stderr := p.err.String()
	if findError(stderr) != "" || strings.Contains(stderr, "core:") {
		t.Errorf("stderr: got errors: %s", stderr)
	}
}
