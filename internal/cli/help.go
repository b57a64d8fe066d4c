package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

// helpCmd is another form of --help, for people who type it first.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"Command to explain, such as serve. Default: list the commands."`
}

// Run prints the same as --help after the command.
func (c helpCmd) Run(i *invocation) error {
	_, err := i.parse(append(c.Command, "--help"))
	return err
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(i *invocation) error {
	_, err := fmt.Fprintln(i.env.Stdout, i.app.Name, buildinfo.String())
	return err
}

// formatHelp adds the environment variables to a flag's help.
func formatHelp(v *kong.Value) string {
	if v.Flag == nil || !hasVariable(v.Flag) {
		return v.Help
	}
	variables := strings.Join(listVariables(v.Name), ", $")
	return strings.TrimSuffix(v.Help, ".") + " ($" + variables + ")."
}
