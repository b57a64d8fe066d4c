//go:build !race

package bus_test

// raceEnabled tells whether everything is ten times slower.
const raceEnabled = false
