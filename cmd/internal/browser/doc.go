// Package browser tests the pages of the board as a person uses them, in a headless
// Chromium, against a `springtide dev` that each test starts. Its tests have the
// build tag "browser" and leave one picture per view in .screenshots. It refuses to
// stand in for a server.
package browser
