// Package rig is what load tests stand on: child processes that are kept running,
// with the processor time they took, a real Kafka and Redis on ports of their own,
// and the control port of a simulated authority. It owns every process it starts.
// It refuses to know what a test is about, and to touch servers that it did not start.
package rig
