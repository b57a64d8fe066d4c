package e2e

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
)

// What docs/streams.md shows of redis-cli is what a user sees who types it.
func TestStreamsPage(t *testing.T) {
	t.Parallel()
	w, s := newShell(t)
	core := w.core()
	w.threeOperations(core)
	core.stop()
	s.runPage("streams.md", 10)
}

// So is what docs/troubleshooting.md shows of a system in which all is well. The rest it marks as shell-session.
func TestTroubleshootingPage(t *testing.T) {
	t.Parallel()
	w, s := newShell(t)
	core := w.core()
	g := w.gateway(core.url())
	w.threeOperations(core)
	w.eventually("the gateway has read all", func() bool { return w.metric(g, "stream_entries_total") == 8 })
	s.env = append(s.env, "TOKEN="+w.token("support", nil, auth.ScopeRead), "USER_TOKEN="+w.token("user:u1", nil),
		"ADMIN_TOKEN="+w.token("operator", nil, auth.ScopeAdmin))
	s.addresses = []string{"localhost:8080", core.http, "localhost:9080", core.admin, "localhost:8081", g.http, "localhost:9081", g.admin}
	s.runPage("troubleshooting.md", 8)
}

// threeOperations are those that the pages show the traces of. It returns when they are published.
func (w *world) threeOperations(core *server) {
	w.Helper()
	a := w.api(core)
	a.do(credit("user:u1", 1000))
	held := a.do(hold("user:u1", 100))
	a.do(settle(held.receipt.EscrowID, "model:m1", 100))
	w.eventually("the operations are published", func() bool {
		return w.rdb.XLen(w.Context(), w.stream(2)).Val() == 8 && w.outbox() == 0
	})
}

// shell runs what a page shows. Ids of stream entries differ from the page's: it remembers what became of them.
type shell struct {
	*testing.T
	setup     string
	env       []string
	addresses []string          // as the pages have them, as they are, and so on
	ids       map[string]string // as the page has them -> as they are
}

// newShell is on a Redis of its own, with the namespace that the pages have.
func newShell(t *testing.T) (*world, *shell) {
	t.Helper()
	server := testenv.RedisServer(t)
	setup := `redis-cli() { "` + server.CLI() + `" --no-raw -u "` + server.URL() + `" "$@"; }`
	return newWorldOn(t, server.URL(), "rt"), &shell{T: t, setup: setup, env: os.Environ(), ids: map[string]string{}}
}

// runPage runs the page's console blocks, of which there are several with at least so many commands.
func (s *shell) runPage(name string, atLeast int) {
	s.Helper()
	page, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		s.Fatal(err)
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, shown, _ := strings.Cut(step, "\n")
			s.run(command, strings.TrimSpace(shown))
			ran++
		}
	}
	if ran < atLeast {
		s.Errorf("%s has %d commands; has its form changed?", name, ran)
	}
}

var (
	streamID = regexp.MustCompile(`\b\d{13}-\d+\b`)
	// What differs from run to run: ids of stream entries, UUIDs, times, numbers of two digits and more.
	varying = regexp.MustCompile(`\d{13}-\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|\(integer\) \d\d+|…`)
)

func (s *shell) run(command, shown string) {
	s.Helper()
	command = strings.NewReplacer(s.addresses...).Replace(command)
	command = streamID.ReplaceAllStringFunc(command, func(id string) string { return s.ids[id] })
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.setup+"\n"+command)
	cmd.Env = s.env
	raw, err := cmd.CombinedOutput() // some of the commands shown fail
	if ctx.Err() != nil {
		s.Fatalf("%s: %v", command, err)
	}
	var pattern strings.Builder
	var groups []string // stream ids of the page, in order
	last := 0
	for _, at := range varying.FindAllStringIndex(shown, -1) {
		pattern.WriteString(regexp.QuoteMeta(shown[last:at[0]]))
		last = at[1]
		switch text := shown[at[0]:at[1]]; {
		case text == "…":
			pattern.WriteString(`(?s:.*?)`)
		case streamID.MatchString(text):
			groups = append(groups, text)
			pattern.WriteString(`(\d{13}-\d+)`)
		case strings.HasPrefix(text, "(integer)"):
			pattern.WriteString(`\(integer\) \d+`)
		default:
			pattern.WriteString(`[0-9a-fT:.Z-]+`)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(shown[last:]))
	got := strings.TrimSpace(string(raw))
	found := regexp.MustCompile(`^` + pattern.String() + `$`).FindStringSubmatch(got)
	if found == nil {
		s.Fatalf("$ %s\nthe page shows:\n%s\ngot:\n%s", command, shown, got)
	}
	for i, id := range groups {
		if known, ok := s.ids[id]; ok && known != found[i+1] {
			s.Fatalf("$ %s\nthe page's entry %s is %s here, and was %s before:\n%s", command, id, found[i+1], known, got)
		}
		s.ids[id] = found[i+1]
	}
}
