package buildinfo_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestStringBeginsWithVersion(t *testing.T) {
	if got := buildinfo.String(); !strings.HasPrefix(got, buildinfo.Version+" ") {
		t.Errorf("got %q, want it to begin with %s", got, buildinfo.Version)
	}
}

// TestDocumentsNameVersion wants the published documents to be of this version.
func TestDocumentsNameVersion(t *testing.T) {
	for _, name := range []string{"docs/openapi.json", "docs/asyncapi.json"} {
		t.Run(name, func(t *testing.T) {
			var document struct {
				Info struct{ Version string }
			}
			if err := json.Unmarshal([]byte(readFile(t, name)), &document); err != nil {
				t.Fatal(err)
			}
			if document.Info.Version != buildinfo.Version {
				t.Errorf("got version %q, want %s", document.Info.Version, buildinfo.Version)
			}
		})
	}
}

// TestFilesNameVersion wants the files that cannot read the constant to name the same version.
func TestFilesNameVersion(t *testing.T) {
	for name, text := range map[string]string{
		"Dockerfile":         `org.opencontainers.image.version="` + buildinfo.Version + `"`,
		"docker-compose.yml": "image: realtime:" + buildinfo.Version + "\n",
		"CHANGELOG.md":       "## [" + buildinfo.Version + "]",
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(readFile(t, name), text) {
				t.Errorf("%s does not contain %q", name, text)
			}
		})
	}
}
