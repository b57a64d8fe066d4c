// Package cli is the command line that both programs share: where settings come from, the help, the
// errors and the exit codes.
//
// A setting comes from a flag, from an environment variable with the prefix REALTIME_, from a YAML
// file, or from its default. A flag that is for one call only (the tag once) can only be on the
// command line. A flag that holds a secret has a second flag for a file.
//
// An error names the flag, the fix and the command's help. The exit code is 0 after a stop on request,
// 1 after a failure and 2 after wrong usage.
package cli

import (
	"context"
	"io"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

// Env is the environment of a command, the argument of its Run method.
type Env struct {
	Context context.Context // ends when the process must stop; a field because kong binds arguments by type
	Environ []string        // environment variables, NAME=value
	Stdout  io.Writer
	Stderr  io.Writer
}

// App describes a program.
type App struct {
	Name        string
	Description string
	Vars        map[string]string // values of ${name} in defaults and help

	// NewGrammar returns a pointer to a new kong struct. It embeds Common. Its commands have the
	// method Run(*Env) error.
	NewGrammar func() any
}

// Common has the flags and commands that all programs have.
type Common struct {
	ConfigCommand     configCmd     `cmd:"" name:"config" help:"Print the settings of a command, and where each comes from."`
	CompletionCommand completionCmd `cmd:"" name:"completion" help:"Print a script that completes commands and flags in a shell."`
	HelpCommand       helpCmd       `cmd:"" name:"help" help:"Explain a command and its flags."`
	VersionCommand    versionCmd    `cmd:"" name:"version" help:"Print the version."`

	Settings    string           `name:"config" placeholder:"FILE" help:"YAML file with settings. Its keys are names of flags."`
	ShowVersion kong.VersionFlag `name:"version" help:"Print the version and exit."`
}

// exitCode carries an exit code out of kong. kong calls its exit function for --help and would
// continue after it.
type exitCode int

// An invocation is one call of a program. The commands of Common use it.
type invocation struct {
	env     Env
	app     App
	sources *sources // of the command line that was parsed last
}

// Main parses args, runs the chosen command and returns the exit code.
func Main(env Env, app App, args []string) (code int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exitCode:
			code = int(v)
		default:
			panic(v)
		}
	}()

	i := &invocation{env: env, app: app}
	if isCompletionRequest(args) {
		return i.reportError(app.Name, i.complete(args))
	}
	command, err := i.parse(args)
	parse := parseErrorOf(err)
	if parse != nil {
		i.warnOfVariables(parse.Context, nil) // a misspelled variable may be the cause
	}
	if command == nil {
		return i.reportError(app.Name, err)
	}
	if err == nil {
		i.warnOfVariables(command, i.loggerOf(command))
		err = command.Run(&i.env, i)
	}
	return i.reportError(selectedCommand(command), err)
}

// parse parses a command line. It returns the command also with an error that kong did not find.
func (i *invocation) parse(args []string) (*kong.Context, error) {
	i.sources = newSources(i.env.Environ)
	parser, err := newParser(i.env, i.app, i.sources)
	if err != nil {
		return nil, err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return nil, err
	}
	return command, refuseSecretsGivenTwice(command)
}

// NewParser returns the parser of Main. Tests compare its flags with their environment variables.
func NewParser(env Env, app App) (*kong.Kong, error) {
	return newParser(env, app, newSources(env.Environ))
}

func newParser(env Env, app App, s *sources) (*kong.Kong, error) {
	return kong.New(app.NewGrammar(),
		kong.Name(app.Name),
		kong.Description(app.Description),
		kong.Vars{"version": app.Name + " " + buildinfo.String()},
		kong.Vars(app.Vars),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { panic(exitCode(code)) }),
		kong.Resolvers(s),
		kong.ValueFormatter(formatHelp),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}
