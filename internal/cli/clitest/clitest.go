// Package clitest checks the command line of a program: where settings come from, the example of a
// file, the reference, completion, and the texts of the help. It also runs scripts of commands.
package clitest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/cli"
)

// CheckFlags makes all checks of a program. Call it from the package of the program, in cmd.
func CheckFlags(t *testing.T, app cli.App) {
	t.Helper()
	t.Run("variables", func(t *testing.T) { checkVariables(t, app) })
	t.Run("example", func(t *testing.T) { checkExample(t, app, "../../deploy/"+app.Name+".yaml") })
	t.Run("reference", func(t *testing.T) {
		checkReference(t, app, "../../docs/configuration.md")
		checkVariableList(t, app, "../../internal/cli/variables/"+app.Name+".txt")
	})
	t.Run("completion", func(t *testing.T) { checkCompletion(t, app) })
	t.Run("help", func(t *testing.T) { checkHelp(t, app) })
}

// checker checks the flags of one grammar.
type checker struct {
	*testing.T
	app      cli.App
	settings []string        // names of the flags of the services
	checked  map[string]bool // flags that another command has too, by their definition
}

// listFlags returns the flags of a command that kong does not handle itself.
func listFlags(command *kong.Node) []*kong.Flag {
	var flags []*kong.Flag
	for _, group := range command.AllFlags(false) {
		for _, flag := range group {
			if flag.Name != "help" && flag.Name != "version" {
				flags = append(flags, flag)
			}
		}
	}
	return flags
}

func (c *checker) newParser(variables map[string]string) *kong.Kong {
	c.Helper()
	env := cli.Env{Context: c.Context(), Stdout: io.Discard, Stderr: io.Discard}
	for name, value := range variables {
		env.Environ = append(env.Environ, name+"="+value)
	}
	parser, err := cli.NewParser(env, c.app)
	if err != nil {
		c.Fatal(err)
	}
	return parser
}

// value returns the value of a flag with the given variables and flags.
func (c *checker) value(command *kong.Node, flag string, variables map[string]string, more ...string) string {
	c.Helper()
	args := strings.Fields(command.FullPath())[1:]
	args = append(args, more...)
	for _, positional := range command.Positional {
		args = append(args, exampleOf(c.T, positional))
	}
	trace, err := kong.Trace(c.newParser(variables), args)
	if err == nil {
		err = trace.Error
	}
	if err == nil {
		err = trace.Resolve()
	}
	if err != nil {
		c.Fatalf("%v with %v: %v", args, variables, err)
	}
	for _, f := range trace.Flags() {
		if f.Name == flag {
			return fmt.Sprint(trace.FlagValue(f))
		}
	}
	c.Fatalf("%v has no flag %s", args, flag)
	return ""
}

// help returns the help of a command.
func (c *checker) help(command *kong.Node) string {
	c.Helper()
	var out strings.Builder
	env := cli.Env{Context: c.Context(), Stdout: &out, Stderr: io.Discard}
	code := cli.Main(env, c.app, append(strings.Fields(command.FullPath())[1:], "--help"))
	if code != 0 {
		c.Fatalf("%s --help: got the exit code %d, want 0", command.FullPath(), code)
	}
	return out.String()
}
