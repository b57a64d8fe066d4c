package ws_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// module is the path of this module.
const module = "github.com/redroomrewards/realtime"

// buildOutside copies the program in testdata/outside into a separate module and builds it. The
// module requires this module and has its dependencies.
func buildOutside(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyFile(t, filepath.Join("testdata", "outside", "main.go"), filepath.Join(dir, "main.go"))
	copyFile(t, filepath.Join(root, "go.sum"), filepath.Join(dir, "go.sum"))
	writeModFile(t, root, dir)

	program := filepath.Join(dir, "outside")
	args := append([]string{"build", "-mod=mod", "-o", program}, testenv.BuildFlags()...)
	build := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(to, data, 0o600)
	if err != nil {
		t.Fatal(err)
	}
}

// writeModFile writes the go.mod file of the module in dir.
func writeModFile(t *testing.T, root, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "module "+module, "module example.com/outside", 1)
	text += "\nrequire " + module + " v0.0.0\n"
	text += "\nreplace " + module + " => " + root + "\n"
	err = os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600)
	if err != nil {
		t.Fatal(err)
	}
}

// startOutside starts the program that buildOutside built.
func startOutside(ctx context.Context, t *testing.T, program, addr string) *testenv.Process {
	t.Helper()
	p := testenv.StartProcess(t, t.TempDir(), program, []string{addr}, nil)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(p.Output(), "ready") {
		select {
		case <-ticker.C:
		case <-p.Exited():
			t.Fatalf("the program has ended: %s", p.Output())
		case <-ctx.Done():
			t.Fatalf("the program is not ready: %s", p.Output())
		}
	}
	return p
}

// A program in another module can implement Authenticator, Snapshots and History, and serve a hub.
func TestOutsideModule(t *testing.T) {
	program := buildOutside(t)
	addr := testenv.FreeAddr(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p := startOutside(ctx, t, program, addr)

	_, resp, err := dialOutside(ctx, addr, "wrong")
	if err == nil {
		t.Error("wrong password: got a connection, want status 401")
	} else if resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("wrong password: got %v, want status 401", err)
	}

	creditAccount(ctx, t, addr, 2)
	conn, _, err := dialOutside(ctx, addr, "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	c := &client{Conn: conn}
	c.expectFrame(ctx, t, "welcome")
	c.checkSubscription(ctx, t, addr)
	c.checkReplay(ctx, t)
	c.checkOtherAccount(ctx, t)

	err = p.Signal(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	var closed websocket.CloseError
	_, _, err = c.Read(ctx)
	if !errors.As(err, &closed) {
		t.Errorf("got %v, want close code 1001", err)
	}
	if closed.Code != websocket.StatusGoingAway {
		t.Errorf("close code: got %d, want 1001", closed.Code)
	}
	<-p.Exited()
	if p.ExitCode() != 0 {
		t.Errorf("exit code: got %d, want 0: %s", p.ExitCode(), p.Output())
	}
}

func dialOutside(
	ctx context.Context, addr, token string,
) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, "ws://"+addr+"/v1/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
}

// A frame has the members of a server frame that this test checks.
type frame struct {
	Op       string
	Sub      string
	Code     string
	Seq      int64
	Accounts []struct {
		Seq      int64
		Snapshot struct {
			Available int64 `json:"availableBalance"`
		}
	}
}

// A client is a WebSocket client of the program.
type client struct {
	*websocket.Conn
	pending []string // frames of the last message
}

// checkSubscription subscribes to an account with two events and delivers a third event.
func (c *client) checkSubscription(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	c.sendFrame(ctx, t, `{"op":"subscribe","sub":"live"}`)
	f := c.expectFrame(ctx, t, "subscribed")
	if len(f.Accounts) != 1 {
		t.Fatalf("accounts: got %d, want 1", len(f.Accounts))
	}
	if f.Accounts[0].Snapshot.Available != 20 {
		t.Errorf("available balance: got %d, want 20", f.Accounts[0].Snapshot.Available)
	}
	if f.Accounts[0].Seq != 2 {
		t.Errorf("seq: got %d, want 2", f.Accounts[0].Seq)
	}
	creditAccount(ctx, t, addr, 1)
	c.expectEvent(ctx, t, "live", 3)
}

// checkReplay subscribes from the first event.
func (c *client) checkReplay(ctx context.Context, t *testing.T) {
	t.Helper()
	c.sendFrame(ctx, t, `{"op":"subscribe","sub":"replay","after":{"user:alibaba":0}}`)
	c.expectFrame(ctx, t, "subscribed")
	for seq := int64(1); seq <= 3; seq++ {
		c.expectEvent(ctx, t, "replay", seq)
	}
}

// checkOtherAccount subscribes to an account that the token does not cover.
func (c *client) checkOtherAccount(ctx context.Context, t *testing.T) {
	t.Helper()
	c.sendFrame(ctx, t, `{"op":"subscribe","sub":"other","accounts":["user:cassim"]}`)
	f := c.expectFrame(ctx, t, "error")
	if f.Code != "forbidden" {
		t.Errorf("code: got %s, want forbidden", f.Code)
	}
}

// expectFrame reads a frame with the op.
func (c *client) expectFrame(ctx context.Context, t *testing.T, op string) frame {
	t.Helper()
	if len(c.pending) == 0 {
		_, message, err := c.Read(ctx)
		if err != nil {
			t.Fatalf("got %v, want op %s", err, op)
		}
		c.pending = strings.Split(string(message), "\n")
	}
	raw := c.pending[0]
	c.pending = c.pending[1:]
	var f frame
	err := json.Unmarshal([]byte(raw), &f)
	if err != nil {
		t.Fatalf("got %s, want a JSON object: %v", raw, err)
	}
	if f.Op != op {
		t.Fatalf("got %s, want op %s", raw, op)
	}
	return f
}

// expectEvent reads an event of the subscription.
func (c *client) expectEvent(ctx context.Context, t *testing.T, sub string, seq int64) {
	t.Helper()
	f := c.expectFrame(ctx, t, "event")
	if f.Sub != sub {
		t.Errorf("sub: got %s, want %s", f.Sub, sub)
	}
	if f.Seq != seq {
		t.Errorf("seq: got %d, want %d", f.Seq, seq)
	}
}

func (c *client) sendFrame(ctx context.Context, t *testing.T, frame string) {
	t.Helper()
	err := c.Write(ctx, websocket.MessageText, []byte(frame))
	if err != nil {
		t.Fatal(err)
	}
}

// creditAccount adds n events to the account user:alibaba.
func creditAccount(ctx context.Context, t *testing.T, addr string, n int) {
	t.Helper()
	for range n {
		u := "http://" + addr + "/credit/user:alibaba"
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status: got %s, want 200", resp.Status)
		}
	}
}
