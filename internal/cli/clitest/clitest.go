// Package clitest checks which environment variables the flags of a command have.
package clitest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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

// checker checks the flags of one grammar.
type checker struct {
	*testing.T
	app      cli.App
	settings []string        // names of the flags of the services
	checked  map[string]bool // flags that another command has too, by their definition
}

// services are the commands that run until they are stopped. Their flags are settings.
var services = []string{"serve", "dev"}

// CheckVariables checks each flag of each command of a program. A setting must have the variable with
// the prefix, and no other but the conventional ones. A secret can be given as a file. Each other flag
// has no variable: a flag of a command that is not a service, unless a service has it too, and a
// switch of core dev.
func CheckVariables(t *testing.T, app cli.App) {
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

// listFlags returns the flags of a command that kong does not handle itself.
func listFlags(command *kong.Node) []*kong.Flag {
	var flags []*kong.Flag
	for _, group := range command.AllFlags(false) {
		for _, flag := range group {
			if flag.Name != "help" && flag.Name != "version" {
				flags = append(flags, flag)
			}
		}
	}
	return flags
}

func (c *checker) newParser(variables map[string]string) *kong.Kong {
	c.Helper()
	env := cli.Env{Context: c.Context(), Stdout: io.Discard, Stderr: io.Discard}
	for name, value := range variables {
		env.Environ = append(env.Environ, name+"="+value)
	}
	parser, err := cli.NewParser(env, c.app)
	if err != nil {
		c.Fatal(err)
	}
	return parser
}

// value returns the value of a flag with the given variables and flags.
func (c *checker) value(command *kong.Node, flag string, variables map[string]string, more ...string) string {
	c.Helper()
	args := strings.Fields(command.FullPath())[1:]
	args = append(args, more...)
	for _, positional := range command.Positional {
		args = append(args, exampleOf(c.T, positional))
	}
	trace, err := kong.Trace(c.newParser(variables), args)
	if err == nil {
		err = trace.Error
	}
	if err == nil {
		err = trace.Resolve()
	}
	if err != nil {
		c.Fatalf("%v with %v: %v", args, variables, err)
	}
	for _, f := range trace.Flags() {
		if f.Name == flag {
			return fmt.Sprint(trace.FlagValue(f))
		}
	}
	c.Fatalf("%v has no flag %s", args, flag)
	return ""
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
	variable := prefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
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

// yamlOf returns a value of a flag as YAML.
func yamlOf(v *kong.Value, value string) string {
	switch v.Target.Interface().(type) {
	case string, time.Duration:
		return strconv.Quote(value)
	case []string:
		return "[" + strconv.Quote(value) + "]"
	default:
		return value
	}
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

// help returns the help of a command.
func (c *checker) help(command *kong.Node) string {
	c.Helper()
	var out strings.Builder
	env := cli.Env{Context: c.Context(), Stdout: &out, Stderr: io.Discard}
	code := cli.Main(env, c.app, append(strings.Fields(command.FullPath())[1:], "--help"))
	if code != 0 {
		c.Fatalf("%s --help: got the exit code %d, want 0", command.FullPath(), code)
	}
	return out.String()
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
	variable := prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
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

// exampleOf returns a valid value that is not the default.
func exampleOf(t *testing.T, v *kong.Value) string {
	t.Helper()
	switch {
	case v.Enum != "":
		return chooseOther(v, v.Default)
	case strings.HasSuffix(v.Name, fileSuffix):
		return writeFile(t, "x")
	case v.Name == "config":
		return writeFile(t, "# no settings")
	}
	return numbered(v, "77")
}

// otherExample returns a valid value that is neither the default nor the example.
func otherExample(t *testing.T, v *kong.Value, example string) string {
	t.Helper()
	switch {
	case v.Enum != "":
		return chooseOther(v, example)
	case strings.HasSuffix(v.Name, fileSuffix):
		return writeFile(t, "y")
	case v.Name == "config":
		return writeFile(t, "# no settings either")
	case v.IsBool():
		return "false"
	}
	return numbered(v, "78")
}

// chooseOther returns a choice of an enumeration other than the given one.
func chooseOther(v *kong.Value, than string) string {
	for _, choice := range v.EnumSlice() {
		if choice != than {
			return choice
		}
	}
	return ""
}

// numbered returns a value with the number in the form of the flag's type.
func numbered(v *kong.Value, number string) string {
	switch v.Target.Interface().(type) {
	case bool:
		return "true"
	case time.Duration:
		return number + "s"
	case int, int64, float64:
		return number
	default:
		return "text" + number
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	err := os.WriteFile(file, []byte(content), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
