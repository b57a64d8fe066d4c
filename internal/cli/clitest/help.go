package clitest

import (
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/cli"
)

// checkHelp checks the texts of all flags: sentences, with units, and in groups if a service has
// many.
func checkHelp(t *testing.T, app cli.App) {
	t.Helper()
	c := &checker{T: t, app: app}
	for _, command := range c.newParser(nil).Model.Leaves(false) {
		for _, f := range listFlags(command) {
			name := command.Path() + " --" + f.Name
			if !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s: the help must be sentences, got %q", name, f.Help)
			}
			if strings.HasSuffix(f.Name, "-bytes") && !strings.Contains(f.Help, "bytes") {
				t.Errorf("%s: the help must name the unit, got %q", name, f.Help)
			}
			if command.Name == "serve" && f.Name != "config" && f.Group == nil {
				t.Errorf("%s: the flag must have a group", name)
			}
		}
	}
}
