package chaos

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// program is a core or a gateway. It keeps its addresses when it is started again. Its methods that
// start and stop the process are called by the test's goroutine only.
type program struct {
	w      *world
	name   string
	kind   string // core or gateway
	http   string
	admin  string
	public string // the address of the proxy in front of http
	dir    string
	args   []string
	env    []string

	mu         sync.Mutex // protects the fields below
	process    *testenv.Process
	isExpected bool // the process is being ended on purpose
	wasReady   bool // this process was ready at least once
	endedAt    time.Time
	starts     int
	failed     int // starts that failed because a server could not be reached
}

func (w *world) newProgram(name, kind string) *program {
	w.Helper()
	p := &program{
		w:     w,
		name:  name,
		kind:  kind,
		http:  testenv.FreeAddr(w),
		admin: testenv.FreeAddr(w),
		dir:   w.TempDir(),
	}
	p.public = w.addLink("clients to "+name, p.http)
	p.args = []string{
		"serve",
		"--http", p.http,
		"--admin", p.admin,
		"--namespace", namespace,
		"--log-format", "text",
		"--shutdown-timeout", "2s",
	}
	p.env = []string{"REALTIME_JWT_HS256_SECRET=" + secret}
	return p
}

// start starts the process. An end that nobody asked for is a violation.
func (p *program) start() {
	p.w.Helper()
	process := testenv.StartProcess(p.w, p.dir, filepath.Join(programs, p.kind), p.args, p.env)
	p.mu.Lock()
	p.process = process
	p.isExpected = false
	p.wasReady = false
	p.endedAt = time.Time{}
	p.starts++
	p.mu.Unlock()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		<-process.Exited()
		p.checkEnd(process)
	}()
	p.w.Cleanup(func() {
		p.expectEnd()
		process.Kill()
		<-watched
		if p.w.Failed() && process == p.current() {
			p.w.Logf("%s wrote at the end:\n%s", p.name, lastBytes(process.Output(), 4<<10))
		}
	})
}

// checkEnd reports a process that ended by itself, or that had a panic.
func (p *program) checkEnd(process *testenv.Process) {
	output := process.Output()
	for _, sign := range []string{"DATA RACE", "panic", "fatal error"} {
		at := strings.Index(output, sign)
		if at >= 0 {
			p.w.journal.violate("%s wrote %q:\n%s", p.name, sign, firstBytes(output[at:], 3000))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.isExpected:
	case !p.wasReady && process.ExitCode() == 1:
		p.failed++
		p.endedAt = time.Now()
	default:
		p.w.journal.violate("%s ended by itself with exit code %d:\n%s", p.name, process.ExitCode(), lastBytes(output, 3000))
	}
}

// restartDelay is the time after which a supervisor starts a program again.
const restartDelay = 500 * time.Millisecond

// supervise starts programs again that could not start because a server was away, as the supervisor of
// a real system does.
func (w *world) supervise() {
	for _, p := range w.programs() {
		p.mu.Lock()
		isDue := !p.isExpected && !p.endedAt.IsZero() && time.Since(p.endedAt) > restartDelay
		p.mu.Unlock()
		if isDue {
			w.journal.note("      %s is started again", p.name)
			p.start()
		}
	}
}

func (p *program) current() *testenv.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

func (p *program) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isExpected = true
}

// kill ends the process as kill -9 does.
func (p *program) kill() {
	p.expectEnd()
	p.current().Kill()
}

// terminate stops the process as an operator does. It must end with exit code 0, unless it takes so
// long that it is killed.
func (p *program) terminate() {
	p.expectEnd()
	process := p.current()
	select {
	case <-process.Exited():
		return // it could not start
	default:
	}
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-process.Exited():
		if code := process.ExitCode(); code != 0 {
			p.w.journal.violate("exit code of %s after SIGTERM: got %d, want 0:\n%s", p.name, code, lastBytes(process.Output(), 2000))
		}
	case <-time.After(patience):
		p.w.journal.violate("%s did not stop within %s after SIGTERM:\n%s", p.name, patience, lastBytes(process.Output(), 2000))
		process.Kill()
	}
}

func (p *program) suspend() { _ = p.current().Signal(syscall.SIGSTOP) }
func (p *program) resume()  { _ = p.current().Signal(syscall.SIGCONT) }

// readiness is what /readyz answers.
type readiness struct {
	status int // 0: no answer
	text   string
	Status string `json:"status"`
}

// isReady reports whether a load balancer sends requests to the program.
func (r readiness) isReady() bool { return r.status == http.StatusOK }

// saysAllWorks reports whether the program says that nothing fails. A degraded one names what does.
func (r readiness) saysAllWorks() bool { return r.isReady() && r.Status == "ready" }

// readReadiness asks /readyz.
func (p *program) readReadiness(limit time.Duration) readiness {
	var r readiness
	status, body := p.w.get("http://"+p.admin+"/readyz", "", limit)
	r.status = status
	r.text = string(body)
	_ = json.Unmarshal(body, &r) // no answer has no status
	if r.isReady() {
		p.mu.Lock()
		p.wasReady = true
		p.mu.Unlock()
	}
	return r
}

func (p *program) waitUntilReady() bool {
	return p.w.waitUntil(p.name+" is ready", func() bool { return p.readReadiness(5 * time.Second).isReady() })
}

// get returns the status 0 if there is no complete answer within the limit.
func (w *world) get(url, token string, limit time.Duration) (status int, body []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return w.do(ctx, http.MethodGet, url, token, nil)
}

func (w *world) do(ctx context.Context, method, url, token string, payload io.Reader) (status int, body []byte) {
	req, err := http.NewRequestWithContext(ctx, method, url, payload)
	if err != nil {
		return 0, nil
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// firstBytes returns at most the first n bytes of a text.
func firstBytes(text string, n int) string { return text[:min(len(text), n)] }

// lastBytes returns at most the last n bytes of a text.
func lastBytes(text string, n int) string { return text[max(0, len(text)-n):] }
