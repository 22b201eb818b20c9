//go:build !race

package filing

const raceDetector = false
