package stack

import (
	"debug/buildinfo"
	"fmt"
)

// commitDigits is the number of digits of a commit's hash in reports.
const commitDigits = 12

// ProgramCommit returns the commit from which a Go program was built, with +dirty if the checkout
// had changes. It is "unknown" if the program was built without that information. It returns an
// error for a file that is not a Go program.
func ProgramCommit(program string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", fmt.Errorf("%s must be a Go program: %w", program, err)
	}

	settings := make(map[string]string, len(info.Settings))
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}

	return stampedCommit(settings), nil
}

func stampedCommit(settings map[string]string) string {
	commit := settings["vcs.revision"]
	if commit == "" {
		return "unknown"
	}

	commit = commit[:min(len(commit), commitDigits)]
	if settings["vcs.modified"] == "true" {
		commit += "+dirty"
	}
	return commit
}
