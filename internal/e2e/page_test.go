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

// TestStreamsPageShowsTheRealOutput runs the redis-cli commands of docs/streams.md.
func TestStreamsPageShowsTheRealOutput(t *testing.T) {
	t.Parallel()
	w, s := newPageShell(t)
	core := w.startCore()
	w.publishThreeOperations(core)
	core.stopProcess()
	s.runPage("streams.md", 10)
}

// TestTroubleshootingPageShowsTheRealOutput runs the commands of docs/troubleshooting.md for a
// healthy system. The page marks its other commands as shell-session.
func TestTroubleshootingPageShowsTheRealOutput(t *testing.T) {
	t.Parallel()
	w, s := newPageShell(t)
	core := w.startCore()
	g := w.startGateway(core.baseURL())
	w.publishThreeOperations(core)
	w.waitUntil("the gateway has read all entries", func() bool { return w.readMetric(g, "realtime_stream_entries_total") == 8 })
	s.env = append(s.env,
		"TOKEN="+w.signToken("support", nil, auth.ScopeRead),
		"USER_TOKEN="+w.signToken("user:u1", nil),
		"ADMIN_TOKEN="+w.signToken("operator", nil, auth.ScopeAdmin))
	s.addresses = []string{
		"localhost:8080", core.http,
		"localhost:9080", core.admin,
		"localhost:8081", g.http,
		"localhost:9081", g.admin,
	}
	s.runPage("troubleshooting.md", 8)
}

// publishThreeOperations does the operations of the pages' examples, whose accounts are in one
// partition. It returns when their events are published.
func (w *world) publishThreeOperations(core *server) {
	w.Helper()
	a := w.newAPI(core)
	a.mustDo(newCredit("user:u1", 1000))
	held := a.mustDo(newHold("user:u1", 100))
	a.mustDo(newSettle(held.EscrowID, "model:m29", 100))
	w.waitUntil("the operations are published", func() bool {
		return w.rdb.XLen(w.Context(), w.streamKey(partitionOf("user:u1"))).Val() == 8 && w.countOutbox() == 0
	})
}

// pageShell runs the commands of a page. The ids of stream entries differ from the page's, so it
// keeps the real id of each.
type pageShell struct {
	*testing.T
	setup     string
	env       []string
	addresses []string          // pairs: the page's address, then the real one
	ids       map[string]string // the page's id -> the real one
}

// newPageShell starts a Redis server and returns a world on it, with the namespace of the pages.
func newPageShell(t *testing.T) (*world, *pageShell) {
	t.Helper()
	server := testenv.RedisServer(t)
	setup := `redis-cli() { "` + server.CLI() + `" --no-raw -u "` + server.URL() + `" "$@"; }`
	s := &pageShell{T: t, setup: setup, env: os.Environ(), ids: map[string]string{}}
	return newWorldOn(t, server.URL(), "rt"), s
}

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// runPage runs the commands in the page's console blocks. It wants at least that many commands.
func (s *pageShell) runPage(name string, atLeast int) {
	s.Helper()
	page, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		s.Fatal(err)
	}
	commands := 0
	for _, block := range consoleBlock.FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, shown, _ := strings.Cut(step, "\n")
			s.runCommand(command, strings.TrimSpace(shown))
			commands++
		}
	}
	if commands < atLeast {
		s.Errorf("commands in %s: got %d, want at least %d", name, commands, atLeast)
	}
}

var (
	streamID = regexp.MustCompile(`\b\d{13}-\d+\b`)
	// varying matches texts that differ between runs: ids of stream entries, UUIDs, chains, times, and
	// numbers of two digits and more.
	varying = regexp.MustCompile(`\d{13}-\d+|\b[0-9a-f]{16}\b|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|\(integer\) \d\d+|…`)
)

// runCommand runs a command of the page and compares its output with the page's.
func (s *pageShell) runCommand(command, shown string) {
	s.Helper()
	command = strings.NewReplacer(s.addresses...).Replace(command)
	command = streamID.ReplaceAllStringFunc(command, func(id string) string { return s.ids[id] })
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.setup+"\n"+command)
	cmd.Env = s.env
	output, err := cmd.CombinedOutput() // some commands of the pages fail
	if ctx.Err() != nil {
		s.Fatalf("%s: %v", command, err)
	}
	got := strings.TrimSpace(string(output))
	pattern, ids := outputPattern(shown)
	found := pattern.FindStringSubmatch(got)
	if found == nil {
		s.Fatalf("$ %s\ngot:\n%s\nwant:\n%s", command, got, shown)
	}
	for i, id := range ids {
		actual := found[i+1]
		known, isKnown := s.ids[id]
		if isKnown && known != actual {
			s.Fatalf("$ %s\nentry %s of the page: got %s, want %s as before:\n%s", command, id, actual, known, got)
		}
		s.ids[id] = actual
	}
}

// outputPattern returns a pattern for the real output of a command, and the stream ids of the shown
// output. Each id is a group of the pattern.
func outputPattern(shown string) (*regexp.Regexp, []string) {
	var pattern strings.Builder
	var ids []string
	last := 0
	for _, at := range varying.FindAllStringIndex(shown, -1) {
		pattern.WriteString(regexp.QuoteMeta(shown[last:at[0]]))
		last = at[1]
		switch text := shown[at[0]:at[1]]; {
		case text == "…":
			pattern.WriteString(`(?s:.*?)`)
		case streamID.MatchString(text):
			ids = append(ids, text)
			pattern.WriteString(`(\d{13}-\d+)`)
		case strings.HasPrefix(text, "(integer)"):
			pattern.WriteString(`\(integer\) \d+`)
		default:
			pattern.WriteString(`[0-9a-fT:.Z-]+`)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(shown[last:]))
	return regexp.MustCompile(`^` + pattern.String() + `$`), ids
}
