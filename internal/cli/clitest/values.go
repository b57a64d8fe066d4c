package clitest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

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

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
