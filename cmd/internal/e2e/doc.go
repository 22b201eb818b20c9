// Package e2e drives the real binary as people run it: processes, signals,
// files and ports, on embedded and on real servers. It owns the tests that no
// single package can have (kill -9 of the whole site, a wiped Redis, a drained
// worker) and the benchmark of `make bench`. It refuses to look inside: what a
// test claims, it read from a front door, from an exit code or from the book of
// the simulated authority.
//
// The tests use what is there: SPRINGTIDE_TEST_KAFKA and SPRINGTIDE_TEST_REDIS
// name real servers, SPRINGTIDE_E2E_FULL=1 files a thousand returns where fewer
// do otherwise and wipes the whole Redis, so give it one of its own. A Kafka that
// already holds a hundred thousand filings (the benchmark leaves tens of
// thousands) makes every wiped view take long to write anew: start from a fresh one.
package e2e
