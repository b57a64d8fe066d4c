//go:build !race

package client

// raceEnabled reports whether the race detector is on, which makes tests about ten times slower.
const raceEnabled = false
