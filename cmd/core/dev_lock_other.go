//go:build !unix

package main

// lockDirectory does nothing, because the system has no flock.
func lockDirectory(string) (unlock func(), err error) { return func() {}, nil }
