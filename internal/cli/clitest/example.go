package clitest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/redroomrewards/realtime/internal/cli"
)

// secretPath matches the paths of secrets in an example. They do not exist on the machine of the test.
var secretPath = regexp.MustCompile(`/run/secrets/\S+`)

// checkExample checks an example of a file with settings: serve takes all of its settings, and none
// is the default.
func checkExample(t *testing.T, app cli.App, file string) {
	t.Helper()
	example := readFile(t, file)
	secret := writeFile(t, "content of a secret")
	settings := writeFile(t, secretPath.ReplaceAllString(example, secret))

	var out, errors strings.Builder
	env := cli.Env{Context: t.Context(), Stdout: &out, Stderr: &errors}
	code := cli.Main(env, app, []string{"--config", settings, "config", "serve"})
	if code != 0 {
		t.Fatalf("config --config %s: got the exit code %d: %s", file, code, errors.String())
	}

	for _, name := range settingsOf(t, example) {
		source := regexp.MustCompile(`(?m)^ *` + name + `: .*# file ` + regexp.QuoteMeta(filepath.Clean(settings)) + `:\d+$`)
		if !source.MatchString(out.String()) {
			t.Errorf("%s in %s: serve does not use it:\n%s", name, file, out.String())
		}
	}
	if strings.Contains(out.String(), "# required and not set") {
		t.Errorf("%s: a required setting is missing:\n%s", file, out.String())
	}
}

// settingsOf returns the keys of the top level and of the section serve.
func settingsOf(t *testing.T, example string) []string {
	t.Helper()
	var content map[string]any
	err := yaml.Unmarshal([]byte(example), &content)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range content {
		if name != "serve" {
			names = append(names, name)
		}
	}
	section, _ := content["serve"].(map[string]any)
	for name := range section {
		names = append(names, name)
	}
	return names
}
