// Package crashtest holds the tests that end a process where it hurts, and the
// list of the crash grid: every row of the protocol's grid with the test that
// stands for it. It has no code of its own; the product is built with the tag
// crashpoints, or put together from its parts, and judged by what clients were
// told and by the authority's own book.
package crashtest
