package cli

import (
	"embed"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// variableFiles lists the variables of all programs, so that core does not warn about those of the
// gateway. Tests of the programs write the files.
//
//go:embed variables/*.txt
var variableFiles embed.FS

// otherVariables are those of docker-compose.yml, clients and examples.
var otherVariables = []string{
	"REALTIME_CONSUMER",
	"REALTIME_GROUP",
	"REALTIME_REVISION",
	"REALTIME_WEBHOOK_SECRET",
	"REALTIME_WEBHOOK_URL",
}

// serviceLink matches the variables that Kubernetes sets for a service whose name begins with
// realtime.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$`)

// warnOfVariables warns of environment variables that begin with the prefix and that no flag knows.
// They are probably misspelled. They are not refused, since other programs may own them.
// The log may be nil.
func (i *invocation) warnOfVariables(command *kong.Context, log *slog.Logger) {
	selected := command.Selected()
	if selected == nil || len(settingsBelow(selected)) == 0 {
		return
	}
	flags := flagsBelow(command.Model.Node)
	known := listKnownVariables(flags)
	for _, text := range i.env.Environ {
		name, value, _ := strings.Cut(text, "=")
		isKnown := slices.Contains(known, name) || serviceLink.MatchString(name)
		if strings.HasPrefix(name, variablePrefix) && value != "" && !isKnown {
			i.warn(log, explainUnknownVariable(name, flags, known))
		}
	}
}

// listKnownVariables returns the variables of a program's flags and of the other programs.
func listKnownVariables(flags []*kong.Flag) []string {
	known := slices.Clone(otherVariables)
	for _, flag := range flags {
		if hasVariable(flag) {
			known = append(known, variableOf(flag.Name))
		}
	}
	files, err := variableFiles.ReadDir("variables")
	if err != nil {
		return known
	}
	for _, file := range files {
		content, err := variableFiles.ReadFile("variables/" + file.Name())
		if err == nil {
			known = append(known, strings.Fields(string(content))...)
		}
	}
	return known
}

func explainUnknownVariable(name string, flags []*kong.Flag, known []string) string {
	for _, flag := range flags {
		if isOnce(flag) && variableOf(flag.Name) == name {
			return fmt.Sprintf("%s has no effect: --%s can be given on the command line only", name, flag.Name)
		}
	}
	text := name + " is not a setting"
	nearest := nearestName(name, known)
	if nearest != "" {
		text += ", did you mean " + nearest + "?"
	}
	return text
}

// loggerOf returns the logger of a command that writes a log, and nil for other commands.
func (i *invocation) loggerOf(command *kong.Context) *slog.Logger {
	flags := LogFlags{}
	for _, flag := range command.Flags() {
		switch flag.Name {
		case "log-level":
			flags.LogLevel, _ = command.FlagValue(flag).(string)
		case "log-format":
			flags.LogFormat, _ = command.FlagValue(flag).(string)
		}
	}
	if flags.LogLevel == "" {
		return nil
	}
	log, err := flags.Logger(i.env.Stderr)
	if err != nil {
		return nil
	}
	return log
}

// warn writes a warning to the log, or prints it if there is no log.
func (i *invocation) warn(log *slog.Logger, text string) {
	if log != nil {
		log.Warn("environment variable ignored", "reason", text)
		return
	}
	_, _ = fmt.Fprintf(i.env.Stderr, "%s: warning: %s\n", i.app.Name, text)
}
