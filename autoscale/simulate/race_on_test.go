//go:build race

package simulate

// raceDetector keeps the simulations of whole days to builds without it.
const raceDetector = true
