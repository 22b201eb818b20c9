// Package forms knows the tax return forms: their editions, cells and rules. It
// fills the cells a return leaves to be computed, checks every rule at once, and
// explains each broken one in Chinese and English together with what to do.
//
// Forms are versioned data (data/*.yaml), compiled at load time into closures
// over exact numbers: amounts are whole fen, rates are exact, and every column
// is rounded half up to the fen before the next one uses it. No float is ever
// involved.
//
// Everything here is pure and safe for concurrent use. The package refuses I/O
// (beyond its embedded data), clocks, and guesses: a fact that cannot be derived
// from the return is zero until its context says otherwise.
package forms
