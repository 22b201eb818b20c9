// Package defaults holds the addresses and places every role and every client
// agree on, so that a client finds a server that was started without a flag.
// It refuses everything else: a default that only one package needs stays there.
package defaults

// The addresses, all on the loopback interface: nothing is open to a network
// until somebody says so.
const (
	// GRPC is where the front door listens and clients connect.
	GRPC = "127.0.0.1:7070"
	// HTTP serves REST and the web pages.
	HTTP = "127.0.0.1:7080"
	// Admin serves health, metrics and profiles of a process.
	Admin = "127.0.0.1:7090"
	// KEDA is where the scaler answers KEDA.
	KEDA = "127.0.0.1:7110"
	// Sim is where the simulated authority listens.
	Sim = "127.0.0.1:7100"
)

// Data is the data directory, relative to where the command is started.
const Data = "springtide-data"
