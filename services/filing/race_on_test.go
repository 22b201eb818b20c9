//go:build race

package filing

// raceDetector makes the model test search smaller scopes: it is some ten times slower then.
const raceDetector = true
