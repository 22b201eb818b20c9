// Package crashpoint marks the places where a process may die and nothing may be
// lost. In a normal build [At] is empty and the compiler drops the call; with the
// build tag crashpoints a process that is told so by SPRINGTIDE_CRASH kills
// itself there. It owns the list of the places; it refuses to do anything else
// than to end or to stop the process, so that a test meets what kill -9 leaves.
//
//	go build -tags crashpoints -o st ./cmd/springtide
//	SPRINGTIDE_CRASH=submit/after-claim:3 ./st dev        # dies at the third hit
//	SPRINGTIDE_CRASH=submit/claimed=stop ./st dev         # is stopped, until SIGCONT
package crashpoint

// Variable is the environment variable that a tagged build looks at: NAME, then
// :N for the N-th hit (1), then =kill (that is how it is) or =stop.
const Variable = "SPRINGTIDE_CRASH"

// A Point is a place where a process may die.
type Point struct {
	// Name is what is given to At.
	Name string
	// Means says what is durable there, and what is not.
	Means string
}

// Names are all points, stage by stage, in the order in which a filing meets
// them. The slice is the caller's own.
func Names() []Point {
	return []Point{
		{"keys/before-append", "a key is made; nobody knows it"},
		{"keys/after-append", "the key is durable; its token was shown to nobody"},

		{"door/after-remember", "the request id may be remembered; nothing is promised"},
		{"door/before-admission", "the filing is named; nothing is promised"},
		{"door/before-append", "the submission was admitted; nothing is durable"},
		{"door/after-append", "SUBMITTED is durable; no acknowledgement left"},
		{"door/before-answer", "the batch is noted; no acknowledgement left"},
		{"door/before-cancel", "the filing may be taken back; the ledger does not know"},
		{"door/after-cancel", "CANCELLED is durable; nobody was told"},

		{"eventlog/before-produce", "records wait for the broker"},
		{"eventlog/after-produce", "the broker has acknowledged; the appender does not know"},
		{"eventlog/before-commit", "work is finished; the group's offset is the old one"},
		{"eventlog/after-commit", "the group's offset is stored; the member does not know"},

		{"validate/before-check", "a submission was read"},
		{"validate/before-invalid", "the rules refuse it; the ledger does not know"},
		{"validate/after-invalid", "INVALID is durable; the command is not finished"},
		{"validate/before-pass", "the rules are met; nothing goes on"},
		{"validate/after-pass", "the submission is validated; the command is not finished"},

		{"submit/before-register", "the ledger does not know the submission"},
		{"submit/after-register", "REGISTERED, often with CLAIM, is durable; not read back"},
		{"submit/registered", "and read back: a claim in it is known to have won or not"},
		{"submit/before-claim", "a place at the authority is taken; nothing is durable"},
		{"submit/after-claim", "CLAIM is durable; not read back"},
		{"submit/claimed", "CLAIM is read back; nothing was sent"},
		{"submit/before-send", "the claim is ours; the request has not left"},
		{"submit/after-send", "the authority has answered; the answer is in memory only"},
		{"submit/before-result", "the answer is understood; the ledger does not know"},
		{"submit/after-result", "the result is durable; not read back"},
		{"submit/before-query", "an attempt without a result is about to be looked up"},
		{"submit/after-query", "the authority was asked; its answer is in memory only"},
		{"submit/before-unknown", "the sender is gone; the ledger does not say so"},
		{"submit/after-unknown", "OUTCOME_UNKNOWN is durable; the command is not parked"},
		{"submit/before-retry", "the attempt is known to be over; the ledger does not say so"},
		{"submit/after-retry", "RETRYOK is durable; the next claim is not"},
		{"submit/before-quarantine", "a person has to decide; the ledger does not say so"},
		{"submit/after-quarantine", "QUARANTINED is durable; the command is not finished"},
		{"submit/before-postpone", "the gate is closed; the ledger does not say so"},
		{"submit/after-postpone", "NEXT is durable; the command is not parked"},
		{"submit/before-finish", "the next step is durable; the command is not finished"},

		{"delay/before-park", "a command has to wait; it is only where it came from"},
		{"delay/after-park", "the command is in a delay tier; and still where it came from"},
		{"delay/before-release", "a parked command is due; it is only in its tier"},
		{"delay/after-release", "it is among the commands again; its tier does not know"},
		{"delay/after-commit", "its tier has moved on; the offset may not be stored"},

		{"deadletter/before-ledger", "a command cannot be worked on; nobody knows"},
		{"deadletter/after-ledger", "the ledger says so; the record is not put aside"},
		{"deadletter/before-append", "a record cannot be worked on; it is only where it came from"},
		{"deadletter/after-append", "the record is put aside; and still where it came from"},

		{"project/before-apply", "the log is folded; the view is older"},
		{"project/after-apply", "the view is written; its new watermark is not known here"},
		{"project/before-commit", "the view is up to date; the group's offset is not"},
		{"project/rebuild-begun", "the view has forgotten a partition and says so"},
		{"project/rebuild-written", "some of the rows are there again"},
		{"project/rebuild-complete", "all rows are there again; the view does not say so"},
		{"project/rebuild-finished", "the view answers again; its new watermark is not known here"},
	}
}
