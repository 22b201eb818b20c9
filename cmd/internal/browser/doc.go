// Package browser tests the accountant's board as a person uses it, in a headless
// Chromium. Its tests have the build tag "browser" and want the sign-in link of a
// running server in SPRINGTIDE_BOARD. It refuses to stand in for a server.
package browser
