package e2e

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// What docs/streams.md shows of redis-cli is what a user sees who types it.
func TestStreamsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/streams.md")
	if err != nil {
		t.Fatal(err)
	}
	server := testenv.RedisServer(t)
	w := newWorldOn(t, server.URL(), "rt")
	core := w.core()
	a := w.api(core)
	a.do(credit("user:u1", 1000))
	held := a.do(hold("user:u1", 100))
	a.do(settle(held.receipt.EscrowID, "model:m1", 100))
	w.eventually("the operations are published", func() bool { return w.rdb.XLen(t.Context(), w.stream(2)).Val() == 8 })
	core.stop()

	shell := &shell{T: t, setup: `redis-cli() { "` + server.CLI() + `" --no-raw -u "` + server.URL() + `" "$@"; }`, ids: map[string]string{}}
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, shown, _ := strings.Cut(step, "\n")
			shell.run(command, strings.TrimSpace(shown))
		}
	}
	if shell.ran < 10 {
		t.Errorf("the page has %d commands; has its form changed?", shell.ran)
	}
}

// shell runs what a page shows. Ids of stream entries differ from the page's: it remembers what became of them.
type shell struct {
	*testing.T
	setup string
	ids   map[string]string // as the page has them -> as they are
	ran   int
}

var (
	streamID = regexp.MustCompile(`\b\d{13}-\d+\b`)
	// What differs from run to run: ids of stream entries, UUIDs, times, numbers of two digits and more.
	varying = regexp.MustCompile(`\d{13}-\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|\(integer\) \d\d+|…`)
)

func (s *shell) run(command, shown string) {
	s.Helper()
	s.ran++
	command = streamID.ReplaceAllStringFunc(command, func(id string) string { return s.ids[id] })
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.setup+"\n"+command)
	raw, err := cmd.CombinedOutput()
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
