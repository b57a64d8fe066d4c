// Package buildinfo tells which version of the program runs.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by release builds: -ldflags "-X …/internal/buildinfo.version=v1.2.3".
var version string

// String is one line: version, commit, Go version and platform, as far as the
// build wrote them down.
func String() string {
	name, commit, dirty := version, "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if name == "" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = " " + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+dirty"
			}
		}
	}
	if name == "" {
		name = "(devel)"
	}
	return fmt.Sprintf("%s%s%s %s %s/%s", name, commit, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
