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

// module is this module's path.
const module = "github.com/redroomrewards/realtime"

// buildOutside copies the program in testdata/outside into a module of its own, outside of this
// repository, and builds it. The module has this module's dependencies and nothing else.
func buildOutside(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyFile := func(from, to string, change func(string) string) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), []byte(change(string(data))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same := func(text string) string { return text }
	copyFile(filepath.Join("testdata", "outside", "main.go"), "main.go", same)
	copyFile(filepath.Join(root, "go.sum"), "go.sum", same)
	copyFile(filepath.Join(root, "go.mod"), "go.mod", func(text string) string {
		text = strings.Replace(text, "module "+module, "module example.com/outside", 1)
		return text + "\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + root + "\n"
	})
	program := filepath.Join(dir, "outside")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", program, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// A program in another module implements the Authenticator, the Snapshots and the History, and
// serves a hub.
func TestOutsideModule(t *testing.T) {
	addr := testenv.FreeAddr(t)
	p := testenv.StartProcess(t, t.TempDir(), buildOutside(t), []string{addr}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(p.Output(), "ready") {
		select {
		case <-ticker.C:
		case <-p.Exited():
			t.Fatalf("ended: %s", p.Output())
		case <-ctx.Done():
			t.Fatalf("not ready: %s", p.Output())
		}
	}
	dial := func(token string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, "ws://"+addr+"/v1/ws", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
		})
	}
	if _, resp, err := dial("wrong"); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %v", err)
	}
	credit(ctx, t, addr, 2)
	conn, _, err := dial("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	c := &client{Conn: conn}
	c.expect(ctx, t, "welcome")
	c.send(ctx, t, `{"op":"subscribe","sub":"live"}`)
	f := c.expect(ctx, t, "subscribed")
	if len(f.Accounts) != 1 || f.Accounts[0].Snapshot.Available != 20 || f.Accounts[0].Seq != 2 {
		t.Errorf("subscribed with %+v, want 20 points at seq 2", f.Accounts)
	}
	credit(ctx, t, addr, 1)
	if f := c.expect(ctx, t, "event"); f.Sub != "live" || f.Seq != 3 {
		t.Errorf("got %+v, want event 3", f)
	}
	c.send(ctx, t, `{"op":"subscribe","sub":"replay","after":{"user:alibaba":0}}`)
	c.expect(ctx, t, "subscribed")
	for seq := int64(1); seq <= 3; seq++ {
		if f := c.expect(ctx, t, "event"); f.Sub != "replay" || f.Seq != seq {
			t.Errorf("got %+v, want event %d again", f, seq)
		}
	}
	c.send(ctx, t, `{"op":"subscribe","sub":"other","accounts":["user:cassim"]}`)
	if f := c.expect(ctx, t, "error"); f.Code != "forbidden" {
		t.Errorf("another's account: %+v, want forbidden", f)
	}

	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var closed websocket.CloseError
	if _, _, err := c.Read(ctx); !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", err)
	}
	<-p.Exited()
	if code := p.ExitCode(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.Output())
	}
}

// frame is what these tests look at in a server's frame.
type frame struct {
	Op, Sub, Code string
	Seq           int64
	Accounts      []struct {
		Seq      int64
		Snapshot struct {
			Available int64 `json:"availableBalance"`
		}
	}
}

// client is a WebSocket client of the program.
type client struct {
	*websocket.Conn
	pending []string // frames of the last message
}

func (c *client) expect(ctx context.Context, t *testing.T, op string) frame {
	t.Helper()
	if len(c.pending) == 0 {
		_, message, err := c.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v", op, err)
		}
		c.pending = strings.Split(string(message), "\n")
	}
	var f frame
	if err := json.Unmarshal([]byte(c.pending[0]), &f); err != nil || f.Op != op {
		t.Fatalf("got %s %v, want %s", c.pending[0], err, op)
	}
	c.pending = c.pending[1:]
	return f
}

func (c *client) send(ctx context.Context, t *testing.T, frame string) {
	t.Helper()
	if err := c.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// credit adds n events to the account.
func credit(ctx context.Context, t *testing.T, addr string, n int) {
	t.Helper()
	for range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/credit/user:alibaba", nil)
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
			t.Fatal(resp.Status)
		}
	}
}
