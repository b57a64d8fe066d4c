package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variableTag matches the tag of a flag that names its environment variables.
var variableTag = regexp.MustCompile(`\benv:"([^"]*)"`)

// A variable that other programs use, such as GROUP or TOKEN, would silently change an example.
func TestVariablesOfExamplesHaveThePrefix(t *testing.T) {
	conventional := []string{"DATABASE_URL", "REDIS_URL"}
	files, err := filepath.Glob(filepath.Join(root, "examples", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range variableTag.FindAllStringSubmatch(string(source), -1) {
			for name := range strings.SplitSeq(tag[1], ",") {
				count++
				if !strings.HasPrefix(name, "REALTIME_") && !slices.Contains(conventional, name) {
					t.Errorf("%s: the variable %s must begin with REALTIME_", file, name)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("variables of the examples: got %d, want at least 10", count)
	}
}
