// Package cli is the command line of Springtide: its commands, flags and
// settings, its exit codes, and how results look to people and to scripts.
// Commands for clients speak gRPC to a front door; commands that run something
// are handed to the functions in [Deps].
//
// Data goes to standard output, talk to standard error. Nothing here keeps state
// between two calls of [Run], so tests and other programs may call it as often
// as they like, side by side.
//
// It refuses to know how a server is put together, to file anything twice (a
// retry repeats the same request), and to colour or animate what is not a terminal.
package cli
