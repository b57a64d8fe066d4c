package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/httpserver"
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
	var usage *UsageError
	var address *httpserver.AddressError
	var unable *unableError
	parse := parseErrorOf(err)
	switch {
	case err == nil:
		return exitOK
	case parse != nil:
		i.printUsageError(selectedCommand(parse.Context), err)
		return exitUsage
	case errors.As(err, &usage), errors.As(err, &address):
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
	_, _ = fmt.Fprintf(i.env.Stderr, "%s: %s\nrun %s --help for usage\n", i.app.Name, i.explainError(err), command)
}

// selectedCommand returns the command that was parsed last, such as core dead-letters list.
func selectedCommand(context *kong.Context) string {
	node := context.Selected()
	if node == nil {
		return context.Model.Name
	}
	return node.FullPath()
}

// parseErrorOf returns kong's error, or nil if err has none.
func parseErrorOf(err error) *kong.ParseError {
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		return parse
	}
	return nil
}

// missingFlags begins kong's error for required flags that were not given.
const missingFlags = "missing flags: "

func isMissingFlags(err error) bool {
	return parseErrorOf(err) != nil && strings.HasPrefix(err.Error(), missingFlags)
}

// explainError adds the environment variables to kong's error for missing flags, and the source to an
// error about a flag whose value comes from somewhere else.
func (i *invocation) explainError(err error) string {
	if isMissingFlags(err) {
		list := strings.TrimPrefix(err.Error(), missingFlags)
		return explainMissingFlags(parseErrorOf(err).Context, list)
	}

	text := err.Error()
	var usage *UsageError
	if errors.As(err, &usage) { // without kong's prefix, which repeats the flag
		text = usage.Error()
	}
	source := i.sources.nameSource(text)
	if source != "" {
		text += " (set by " + source + ")"
	}
	return text
}

// explainMissingFlags returns the fix for required flags that were not given. The list is kong's, such
// as --sub=SUB, --database-url=URL.
func explainMissingFlags(command *kong.Context, list string) string {
	var fixes []string
	for _, flag := range strings.Split(list, ", ") {
		flag, _, _ = strings.Cut(flag, "=")
		flag = strings.TrimPrefix(flag, "--")
		fix := fmt.Sprintf("--%s is required", flag)
		known := findFlag(command.Flags(), flag)
		if known != nil && hasVariable(known) {
			fix += ": give the flag or set " + strings.Join(listVariables(flag), " or ")
		}
		fixes = append(fixes, fix)
	}
	return strings.Join(fixes, "; ")
}
