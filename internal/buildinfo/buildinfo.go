// Package buildinfo holds the version of the programs.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is the version of the programs, the image and the published API documents. It is the only
// place to change for a release.
const Version = "0.1.0"

// revision is set by image builds, which have no repository:
// -ldflags "-X …/internal/buildinfo.revision=COMMIT".
var revision string

const shownRevision = 12 // characters of a commit's hash

// String returns one line: version, commit if it is known, Go version and platform.
func String() string {
	return fmt.Sprintf("%s%s %s %s/%s", Version, commitSuffix(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// commitSuffix returns the commit with a space before it, or "" when the build did not record it.
func commitSuffix() string {
	commit := revision
	dirty := ""
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				commit = setting.Value
			case "vcs.modified":
				if setting.Value == "true" {
					dirty = "+dirty"
				}
			}
		}
	}
	if commit == "" {
		return ""
	}
	return " " + commit[:min(shownRevision, len(commit))] + dirty
}
