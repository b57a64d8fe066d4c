package stack

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStampedCommit(t *testing.T) {
	const hash = "3b6e3e5a0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name     string
		settings map[string]string
		want     string
	}{
		{"clean", map[string]string{"vcs.revision": hash, "vcs.modified": "false"}, "3b6e3e5a0123"},
		{"dirty", map[string]string{"vcs.revision": hash, "vcs.modified": "true"}, "3b6e3e5a0123+dirty"},
		{"no stamp", map[string]string{"CGO_ENABLED": "1"}, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stampedCommit(tt.settings); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProgramCommitReadsGoPrograms(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	commit, err := ProgramCommit(own)
	if err != nil {
		t.Fatal(err)
	}
	if commit == "" {
		t.Error("got no commit, want one or unknown")
	}
}

func TestProgramCommitRefusesOtherFiles(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{text, text + ".missing"} {
		if commit, err := ProgramCommit(file); err == nil {
			t.Errorf("%s: got %q, want an error", file, commit)
		}
	}
}
