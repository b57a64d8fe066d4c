//go:build !race

package consumer_test

// raceEnabled reports whether the race detector is on, which makes tests about ten times slower.
const raceEnabled = false
