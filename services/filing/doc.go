// Package filing is the vocabulary of Springtide: who a filing is (identity,
// digest), where it stands (states), what the ledger says about it (the fold),
// what to do next (the decision), money in fen, and the catalogue of errors.
//
// Everything here is pure: no I/O, no clock, no goroutine, no global state. The
// submit stage, the projector and the model test run the very same fold and
// decision. It refuses to know Kafka, Redis, HTTP or gRPC.
package filing
