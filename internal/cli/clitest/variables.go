package clitest

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/redroomrewards/realtime/internal/cli"
)

// conventional are the only variables without the prefix, by flag.
var conventional = map[string]string{
	"database-url":  "DATABASE_URL",
	"redis-url":     "REDIS_URL",
	"otlp-endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}

// secrets are the flags that can be given as a file in each command that has them.
var secrets = []string{"database-url", "redis-url", "jwt-hs256-secret", "core-token"}

const (
	prefix     = "REALTIME_"
	fileSuffix = "-file"
)

// variableOf returns the variable of a setting.
func variableOf(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// services are the commands that run until they are stopped. Their flags are settings.
var services = []string{"serve", "dev"}

// checkVariables checks each flag of each command of a program. A setting must have the variable with
// the prefix, and no other but the conventional ones. A secret can be given as a file. Each other flag
// has no variable: a flag of a command that is not a service, unless a service has it too, and a
// switch of core dev.
func checkVariables(t *testing.T, app cli.App) {
	t.Helper()
	c := &checker{T: t, app: app, checked: map[string]bool{}}
	commands := c.newParser(nil).Model.Leaves(false)
	for _, command := range commands {
		if slices.Contains(services, command.Name) {
			for _, flag := range listFlags(command) {
				c.settings = append(c.settings, flag.Name)
			}
		}
	}
	for _, command := range commands {
		for _, flag := range listFlags(command) {
			t.Run(command.Path()+" --"+flag.Name, func(t *testing.T) {
				c := &checker{T: t, app: app, settings: c.settings, checked: c.checked}
				c.checkFlag(command, flag)
			})
		}
	}
}

func (c *checker) checkFlag(command *kong.Node, flag *kong.Flag) {
	c.Helper()
	if len(flag.Envs) > 0 {
		c.Errorf("got the tag env with %v, want none: it bypasses the prefix", flag.Envs)
	}
	suffix := strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
	example := exampleOf(c.T, flag.Value)
	unset := c.value(command, flag.Name, nil)
	if c.isForOneCall(command, flag) {
		c.checkOnce(command, flag, suffix, example, unset)
		return
	}

	set := c.value(command, flag.Name, map[string]string{prefix + suffix: example})
	if set == unset {
		c.Errorf("%s=%s: got the value without it, want %s", prefix+suffix, example, example)
	}
	definition := strings.Join([]string{flag.Name, flag.Default, flag.Help, flag.Target.Type().String()}, "|")
	if c.checked[definition] {
		return // each parser takes milliseconds
	}
	c.checked[definition] = true
	c.checkWithoutPrefix(command, flag.Name, suffix, example, unset)
	otherText := otherExample(c.T, flag.Value, example)
	other := c.value(command, flag.Name, map[string]string{prefix + suffix: example}, "--"+flag.Name+"="+otherText)
	if other == set {
		c.Errorf("got the variable's value, want the flag's value")
	}

	if flag.Name != "config" {
		c.checkFile(command, flag, yamlOf(flag.Value, example), yamlOf(flag.Value, otherText), set)
		c.checkFileWithVariable(command, flag, yamlOf(flag.Value, example), otherText, other)
	}
	if slices.Contains(secrets, flag.Name) {
		c.checkSecret(command, flag.Name)
	}
}

// checkFile checks a setting in a file: for all commands, and in the section of its command.
func (c *checker) checkFile(command *kong.Node, flag *kong.Flag, text, other, want string) {
	c.Helper()
	key := flag.Name + ": "
	flat := writeFile(c.T, key+text+"\n")
	if got := c.value(command, flag.Name, nil, "--config", flat); got != want {
		c.Errorf("file: got %q, want %q", got, want)
	}
	section := writeFile(c.T, key+other+"\n"+sectionOf(command, key+text))
	if got := c.value(command, flag.Name, map[string]string{prefix + "CONFIG": section}); got != want {
		c.Errorf("section of the file: got %q, want %q", got, want)
	}
}

// checkFileWithVariable checks that a variable overrides the file.
func (c *checker) checkFileWithVariable(command *kong.Node, flag *kong.Flag, text, variableValue, want string) {
	c.Helper()
	variable := variableOf(flag.Name)
	file := writeFile(c.T, flag.Name+": "+text+"\n")
	got := c.value(command, flag.Name, map[string]string{variable: variableValue}, "--config", file)
	if got != want {
		c.Errorf("file and variable: got %q, want %q", got, want)
	}
}

// sectionOf returns the section of a command with one line.
func sectionOf(command *kong.Node, line string) string {
	names := strings.Fields(command.FullPath())[1:]
	var section strings.Builder
	for depth, name := range names {
		section.WriteString(strings.Repeat("  ", depth) + name + ":\n")
	}
	section.WriteString(strings.Repeat("  ", len(names)) + line + "\n")
	return section.String()
}

// isForOneCall reports whether a flag says what one call does and is no setting.
func (c *checker) isForOneCall(command *kong.Node, flag *kong.Flag) bool {
	if flag.Name == "config" {
		return false
	}
	if command.Name == "dev" {
		return flag.IsBool()
	}
	return !slices.Contains(c.settings, flag.Name)
}

// checkOnce checks that no variable changes a flag that is for one call only.
func (c *checker) checkOnce(command *kong.Node, flag *kong.Flag, suffix, example, unset string) {
	c.Helper()
	if !flag.Tag.Has("once") {
		c.Error("the flag is no setting of a service, so it must have the tag once")
	}
	for _, variable := range []string{suffix, prefix + suffix} {
		got := c.value(command, flag.Name, map[string]string{variable: example})
		if got != unset {
			c.Errorf("%s=%s: got the value %q, want %q as without it", variable, example, got, unset)
		}
	}
	if strings.Contains(c.help(command), "$"+prefix+suffix) {
		c.Errorf("got $%s in the help, want none", prefix+suffix)
	}
}

// checkWithoutPrefix checks the variable that has the flag's name, and the conventional one.
func (c *checker) checkWithoutPrefix(command *kong.Node, flag, suffix, example, unset string) {
	c.Helper()
	name := conventional[flag]
	if name != suffix {
		if got := c.value(command, flag, map[string]string{suffix: example}); got != unset {
			c.Errorf("%s=%s: got the value %q, want %q as without it", suffix, example, got, unset)
		}
	}
	if name == "" {
		return
	}
	if got := c.value(command, flag, map[string]string{name: example}); got != example {
		c.Errorf("%s=%s: got the value %q, want that of the variable", name, example, got)
	}
	both := map[string]string{name: example, prefix + suffix: example + "2"}
	if got := c.value(command, flag, both); got != example+"2" {
		c.Errorf("%v: got %q, want the value of the variable with the prefix", both, got)
	}
}

// checkSecret checks the sources of a secret that can be given as a file.
func (c *checker) checkSecret(command *kong.Node, flag string) {
	c.Helper()
	file := writeFile(c.T, "from the file\n")
	variable := variableOf(flag)
	for _, tc := range []struct {
		name      string
		variables map[string]string
		arguments []string
		want      string
	}{
		{"file variable", map[string]string{variable + "_FILE": file}, nil, "from the file"},
		{"file flag", nil, []string{"--" + flag + "-file", file}, "from the file"},
		{"file flag and variable", map[string]string{variable: "v"}, []string{"--" + flag + "-file", file}, "from the file"},
		{"flag and file variable", map[string]string{variable + "_FILE": file}, []string{"--" + flag, "v"}, "v"},
		{"file variable and conventional variable", map[string]string{variable + "_FILE": file, conventional[flag]: "v"}, nil, "from the file"},
	} {
		got := c.value(command, flag, tc.variables, tc.arguments...)
		if got != tc.want {
			c.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
