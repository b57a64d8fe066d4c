package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
)

// openPage opens a URL in the browser of the desktop. Without one it says so. It never fails, since dev
// works without a browser.
func openPage(url string, out io.Writer) {
	command := browserCommand(context.Background(), url) // the browser must not end with dev
	err := command.Start()
	if err != nil {
		_, _ = fmt.Fprintf(out, "no browser was found; open %s\n", url)
		return
	}
	// The program may run as long as the browser.
	_ = command.Process.Release()
}

// browserCommand returns the command of the system that opens a URL.
func browserCommand(ctx context.Context, url string) *exec.Cmd {
	switch runtime.GOOS {
	case "darwin":
		return exec.CommandContext(ctx, "open", url)
	case "windows":
		return exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", url)
	}
	return exec.CommandContext(ctx, "xdg-open", url)
}
