package control

import "springtide/services/fleet"

// Measurements and decisions are said in the words of package fleet.
type (
	// Report is what a worker says about itself.
	Report = fleet.Report
	// Progress is how far a worker is with one partition.
	Progress = fleet.Progress
	// Authority is what a worker knows about a destination.
	Authority = fleet.Authority
	// View keeps reports.
	View = fleet.View
	// Status is the current decision about one group.
	Status = fleet.Decision
)
