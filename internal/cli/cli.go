// Package cli is the command line that both commands share: flags with an
// environment variable each, help that teaches, errors that name the flag and
// the fix, and exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.
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

// Env is what a command works in; its Run method gets one.
type Env struct {
	Context context.Context // kong binds arguments by type; it ends when the process shall stop
	Stdout  io.Writer
	Stderr  io.Writer
}

// A UsageError is a mistake in how the command was called.
type UsageError struct {
	Flag string // such as --database-url; may be empty
	Fix  string // what is wrong and what to do
}

func (e *UsageError) Error() string {
	if e.Flag == "" {
		return e.Fix
	}
	return e.Flag + ": " + e.Fix
}

// Usage makes a UsageError.
func Usage(flag, format string, args ...any) error {
	return &UsageError{Flag: flag, Fix: fmt.Sprintf(format, args...)}
}

// App names a command.
type App struct {
	Name, Description string
	Vars              map[string]string // stand in for ${name} in defaults and help
}

// exit carries the code out of kong, which calls its exit function for --help
// and goes on otherwise.
type exit int

// Main parses args into the grammar (a pointer to a kong struct whose commands
// have Run(*Env) error), runs the chosen command and returns the exit code.
func Main(env Env, app App, grammar any, args []string, getenv func(string) string) (code int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exit:
			code = int(v)
		default:
			panic(v)
		}
	}()
	k, err := kong.New(grammar,
		kong.Name(app.Name), kong.Description(app.Description),
		kong.Vars{"version": app.Name + " " + buildinfo.String()},
		kong.Vars(app.Vars),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(c int) { panic(exit(c)) }),
		kong.Resolvers(environment(getenv)),
		kong.ValueFormatter(withEnvironment),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return failed(env.Stderr, app.Name, err)
	}
	kctx, err := k.Parse(args)
	if err == nil {
		err = kctx.Run(&env)
	}
	return failed(env.Stderr, app.Name, err)
}

func failed(stderr io.Writer, name string, err error) int {
	if err == nil {
		return 0
	}
	var parse *kong.ParseError
	var usage *UsageError
	if errors.As(err, &parse) || errors.As(err, &usage) {
		_, _ = fmt.Fprintf(stderr, "%s: %s\n%s --help shows what there is\n", name, explain(err), name)
		return 2
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", name, err)
	return 1
}

// explain adds the environment variable to kong's words for a missing flag.
func explain(err error) string {
	msg := err.Error()
	rest, ok := strings.CutPrefix(msg, "missing flags: ")
	if !ok {
		return msg
	}
	var fixes []string
	for _, f := range strings.Split(rest, ", ") {
		name, _, _ := strings.Cut(f, "=")
		fixes = append(fixes, fmt.Sprintf("%s is required: give the flag or set %s", name, variable(strings.TrimPrefix(name, "--"))))
	}
	return strings.Join(fixes, "; ")
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// standard has the names that flags have in any program, beside our own.
var standard = map[string]string{"otlp-endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT"}

// isBuiltIn reports whether the flag is one that no environment variable sets.
func isBuiltIn(flag string) bool { return flag == "help" || flag == "version" }

func environment(getenv func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if isBuiltIn(flag.Name) {
			return nil, nil
		}
		for _, name := range []string{variable(flag.Name), standard[flag.Name]} {
			if name == "" {
				continue
			}
			if v := getenv(name); v != "" {
				return v, nil
			}
		}
		return nil, nil
	})
}

func withEnvironment(v *kong.Value) string {
	if v.Flag == nil || isBuiltIn(v.Name) {
		return v.Help
	}
	return strings.TrimSuffix(v.Help, ".") + " ($" + variable(v.Name) + ")."
}
