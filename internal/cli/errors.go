package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

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

// reportError prints err, if any, and returns the exit code. An error of usage names the help of the
// command, such as core serve.
func (i *invocation) reportError(command string, err error) int {
	var parse *kong.ParseError
	var usage *UsageError
	var unable *unableError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &parse):
		i.printUsageError(selectedCommand(parse.Context), err)
		return exitUsage
	case errors.As(err, &usage):
		i.printUsageError(command, err)
		return exitUsage
	}
	_, _ = fmt.Fprintf(i.env.Stderr, "%s: %s\n", i.app.Name, err)
	if errors.As(err, &unable) {
		return exitUsage
	}
	return exitFailed
}

func (i *invocation) printUsageError(command string, err error) {
	_, _ = fmt.Fprintf(i.env.Stderr, "%s: %s\nrun %s --help for usage\n", i.app.Name, explainError(err), command)
}

// selectedCommand returns the command that was parsed last, such as core dead-letters list.
func selectedCommand(context *kong.Context) string {
	node := context.Selected()
	if node == nil {
		return context.Model.Name
	}
	return node.FullPath()
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
		fixes = append(fixes, explainMissing(err, strings.TrimPrefix(flag, "--")))
	}
	return strings.Join(fixes, "; ")
}

// explainMissing returns the fix for a required flag that was not given.
func explainMissing(err error, name string) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		for _, flag := range parse.Context.Flags() {
			if flag.Name == name && isOnce(flag) {
				return fmt.Sprintf("--%s is required", name)
			}
		}
	}
	variables := strings.Join(listVariables(name), " or ")
	return fmt.Sprintf("--%s is required: give the flag or set %s", name, variables)
}
