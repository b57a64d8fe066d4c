package cli

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/redroomrewards/realtime/internal/logging"
)

// configCmd prints the settings that a command would use.
type configCmd struct {
	Command []string `arg:"" optional:"" passthrough:"" help:"Command whose settings to print, with any of its flags. Default: serve."`
}

// Help explains the output.
func (configCmd) Help() string {
	return "Prints YAML. A comment names the source of each setting: the flag, the environment variable, the line of the file, or default. " +
		"The output is a file for --config. Secrets are hidden and stay comments.\n\n" +
		"Options of this command, such as --config, come first: --config settings.yaml config serve --log-level debug"
}

// Run prints the settings.
func (c configCmd) Run(i *invocation, outer *kong.Context) error {
	args := c.Command
	if len(args) == 0 {
		args = []string{"serve"}
	}
	settings := findFlag(outer.Model.Flags, configFlag)
	if isGiven(outer, settings) {
		args = append([]string{"--" + configFlag, fmt.Sprint(outer.FlagValue(settings))}, args...)
	}

	inner := *i
	command, err := inner.parse(args)
	if isMissingFlags(err) { // the other settings are useful without them
		command = parseErrorOf(err).Context
		err = nil
	}
	if err != nil {
		return err
	}
	if len(settingsBelow(command.Selected())) == 0 {
		return Usage("", "%s has no settings", selectedCommand(command))
	}
	inner.warnOfVariables(command, nil)
	return inner.sources.printSettings(i.env.Stdout, command)
}

// printSettings prints the settings of a command as YAML.
func (s *sources) printSettings(w io.Writer, command *kong.Context) error {
	names := listCommands(command.Selected())[1:]
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) // Flush returns the error of any write
	for depth, name := range names {
		_, _ = fmt.Fprintf(out, "%s%s:\n", strings.Repeat("  ", depth), name)
	}
	indent := strings.Repeat("  ", len(names))
	for _, flag := range command.Selected().Flags {
		if isSetting(flag) {
			_, _ = fmt.Fprintf(out, "%s%s\n", indent, s.formatSetting(command, flag))
		}
	}
	return out.Flush()
}

// formatSetting returns one line of YAML with its comment. A setting without a value, and one that
// must be hidden, is only a comment.
func (s *sources) formatSetting(command *kong.Context, flag *kong.Flag) string {
	value := flag.Target.Interface()
	source := s.sourceOf(command, flag)
	secretFile := findFlag(command.Selected().Flags, flag.Name+fileSuffix)
	text, isText := value.(string)
	switch {
	case isEmpty(value) && flag.Required:
		return fmt.Sprintf("# %s:\t# required and not set", flag.Name)
	case isEmpty(value):
		return fmt.Sprintf("# %s:\t# not set", flag.Name)
	case s.chosen[flag].isContent:
		return fmt.Sprintf("# %s: hidden\t# content of %s", flag.Name, secretFile.Name)
	case isText && isURL(text) && hasSecret(text):
		return fmt.Sprintf("# %s: %s\t# hidden in part, %s", flag.Name, logging.URL(text), source)
	case isText && !isURL(text) && secretFile != nil:
		return fmt.Sprintf("# %s: hidden\t# %s", flag.Name, source)
	}
	return fmt.Sprintf("%s: %s\t# %s", flag.Name, formatValue(value), source)
}

// sourceOf names the source of a flag's value.
func (s *sources) sourceOf(command *kong.Context, flag *kong.Flag) string {
	if isGiven(command, flag) {
		return "flag"
	}
	chosen := s.chosen[flag]
	switch chosen.layer {
	case layerVariable, layerConventionalVariable:
		return "environment " + chosen.name
	case layerFile:
		return "file " + chosen.name
	default:
		return "default"
	}
}

func isURL(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "sqlite:")
}

// secretParameter matches the names of parameters in URLs that may have a secret, such as the
// password of Postgres.
var secretParameter = regexp.MustCompile(`(?i)pass|secret|token|key|auth|sig`)

// hasSecret reports whether a URL may contain a secret.
func hasSecret(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return true
	}
	_, hasPassword := u.User.Password()
	if hasPassword {
		return true
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return true
	}
	for name := range query {
		if secretParameter.MatchString(name) {
			return true
		}
	}
	return false
}

func isEmpty(value any) bool {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.String, reflect.Slice:
		return v.Len() == 0
	default:
		return false
	}
}

// formatValue returns a value as YAML on one line.
func formatValue(value any) string {
	duration, ok := value.(time.Duration)
	if ok {
		return duration.String()
	}
	var node yaml.Node
	err := node.Encode(value)
	if err != nil {
		return "(unreadable)"
	}
	switch {
	case node.Kind == yaml.SequenceNode:
		node.Style = yaml.FlowStyle
	case strings.Contains(node.Value, "\n"):
		node.Style = yaml.DoubleQuotedStyle
	}
	text, err := yaml.Marshal(&node)
	if err != nil {
		return "(unreadable)"
	}
	return strings.TrimSuffix(string(text), "\n")
}
