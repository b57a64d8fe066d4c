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
	commit := Commit()
	if commit != "" {
		commit = " " + commit
	}
	return fmt.Sprintf("%s%s %s %s/%s", Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Commit returns the first characters of the commit's hash, or "" when the build did not record it.
// It ends in +dirty if the build contained other changes.
func Commit() string {
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
	return commit[:min(shownRevision, len(commit))] + dirty
}
