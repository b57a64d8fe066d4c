// Package cli is the command line that both commands share. Every flag has an environment variable
// with the prefix REALTIME_. A flag that holds a secret has a second flag for a file. An error names
// the flag and the fix. The exit code is 0 after a stop on request, 1 after a failure and 2 after
// wrong usage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is the environment of a command, the argument of its Run method.
type Env struct {
	Context context.Context // ends when the process must stop; a field because kong binds arguments by type
	Stdout  io.Writer
	Stderr  io.Writer
}

// A UsageError is a mistake in how the command was called.
type UsageError struct {
	Flag string // such as --database-url; may be empty
	Fix  string // the condition that the flag must meet
}

func (e *UsageError) Error() string {
	if e.Flag == "" {
		return e.Fix
	}
	return e.Flag + ": " + e.Fix
}

// Usage returns a UsageError.
func Usage(flag, format string, args ...any) error {
	return &UsageError{Flag: flag, Fix: fmt.Sprintf(format, args...)}
}

// Unable marks an error of a command that looks for something: it could not look. The exit code is 2,
// as of diff and grep, since 1 means that it looked and found something.
func Unable(err error) error { return &unableError{err} }

type unableError struct{ err error }

func (e *unableError) Error() string { return e.err.Error() }
func (e *unableError) Unwrap() error { return e.err }

// App describes a command.
type App struct {
	Name        string
	Description string
	Vars        map[string]string // values of ${name} in defaults and help
}

// exitCode carries an exit code out of kong. kong calls its exit function for --help and would
// continue after it.
type exitCode int

// Main parses args into the grammar, runs the chosen command and returns the exit code. The grammar
// is a pointer to a kong struct whose commands have the method Run(*Env) error.
func Main(env Env, app App, grammar any, args []string, getenv func(string) string) (code int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exitCode:
			code = int(v)
		default:
			panic(v)
		}
	}()

	parser, err := NewParser(env, app, grammar, getenv)
	if err != nil {
		return reportError(env.Stderr, app.Name, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return reportError(env.Stderr, app.Name, err)
	}
	err = refuseSecretsGivenTwice(command)
	if err != nil {
		return reportError(env.Stderr, app.Name, err)
	}
	return reportError(env.Stderr, app.Name, command.Run(&env))
}

// NewParser returns the parser of Main. Tests compare its flags with their environment variables.
func NewParser(env Env, app App, grammar any, getenv func(string) string) (*kong.Kong, error) {
	return kong.New(grammar,
		kong.Name(app.Name),
		kong.Description(app.Description),
		kong.Vars{"version": app.Name + " " + buildinfo.String()},
		kong.Vars(app.Vars),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { panic(exitCode(code)) }),
		kong.Resolvers(environment(getenv)),
		kong.ValueFormatter(formatHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// reportError prints err, if any, and returns the exit code.
func reportError(stderr io.Writer, name string, err error) int {
	var parse *kong.ParseError
	var usage *UsageError
	var unable *unableError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &parse), errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "%s: %s\nrun %s --help for usage\n", name, explainError(err), name)
		return exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", name, err)
	if errors.As(err, &unable) {
		return exitUsage
	}
	return exitFailed
}

// explainError adds the environment variables to kong's error for missing flags.
func explainError(err error) string {
	var usage *UsageError
	if errors.As(err, &usage) { // without kong's prefix, which repeats the flag
		return usage.Error()
	}
	text := err.Error()
	list, ok := strings.CutPrefix(text, "missing flags: ")
	if !ok {
		return text
	}

	var fixes []string
	for _, flag := range strings.Split(list, ", ") {
		flag, _, _ = strings.Cut(flag, "=")
		variables := strings.Join(listVariables(strings.TrimPrefix(flag, "--")), " or ")
		fixes = append(fixes, fmt.Sprintf("%s is required: give the flag or set %s", flag, variables))
	}
	return strings.Join(fixes, "; ")
}

// formatHelp adds the environment variables to a flag's help.
func formatHelp(v *kong.Value) string {
	if v.Flag == nil || isBuiltIn(v.Name) {
		return v.Help
	}
	variables := strings.Join(listVariables(v.Name), ", $")
	return strings.TrimSuffix(v.Help, ".") + " ($" + variables + ")."
}
