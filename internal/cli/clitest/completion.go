package clitest

import (
	"io"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/cli"
)

// checkCompletion checks that shells complete each command and each flag of a program.
func checkCompletion(t *testing.T, app cli.App) {
	t.Helper()
	c := &checker{T: t, app: app}
	for _, command := range c.newParser(nil).Model.Leaves(false) {
		t.Run(command.Path(), func(t *testing.T) {
			c := &checker{T: t, app: app}
			path := strings.Fields(command.FullPath())[1:]
			last := len(path) - 1
			words := c.complete(append(path[:last:last], ""))
			if !hasWord(words, path[last]) {
				t.Errorf("got no completion for the command: %q", words)
			}
			for _, flag := range listFlags(command) {
				words = c.complete(append(path[:last+1:last+1], "--"+flag.Name))
				if !hasWord(words, "--"+flag.Name) {
					t.Errorf("--%s: got no completion: %q", flag.Name, words)
				}
			}
		})
	}
}

// complete returns the answer to a shell. Each line has a word and its description.
func (c *checker) complete(args []string) string {
	c.Helper()
	var out strings.Builder
	env := cli.Env{Context: c.Context(), Stdout: &out, Stderr: io.Discard}
	code := cli.Main(env, c.app, append([]string{"__complete"}, args...))
	if code != 0 {
		c.Fatalf("%q: got the exit code %d, want 0", args, code)
	}
	return out.String()
}

func hasWord(answer, word string) bool {
	for line := range strings.Lines(answer) {
		first, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if first == word {
			return true
		}
	}
	return false
}
