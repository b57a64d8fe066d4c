//go:build !unix

package main

import "os"

// lockFile does nothing on this system. Make sure that only one process writes the file.
func lockFile(*os.File) error { return nil }
