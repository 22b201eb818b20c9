//go:build race

package simulate

// raceDetector makes the model test search smaller scopes: it is some ten times slower then.
const raceDetector = true
