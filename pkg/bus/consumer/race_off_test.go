//go:build !race

package consumer_test

// raceEnabled tells whether everything is ten times slower.
const raceEnabled = false
