//go:build !race

package scenarios_test

const hasRaceDetector = false
