package main

import (
	"fmt"
	"io"
	"os/exec"
	"runtime"
)

// openPage opens a URL in the browser of the desktop. Without one it says so. It never fails, since dev
// works without a browser.
func openPage(url string, out io.Writer) {
	command := browserCommand(url)
	err := command.Start()
	if err != nil {
		_, _ = fmt.Fprintf(out, "no browser was found; open %s\n", url)
		return
	}
	// The program may run as long as the browser, which must not end with dev.
	_ = command.Process.Release()
}

// browserCommand returns the command of the system that opens a URL.
func browserCommand(url string) *exec.Cmd {
	switch runtime.GOOS {
	case "darwin":
		return exec.Command("open", url)
	case "windows":
		return exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	}
	return exec.Command("xdg-open", url)
}
