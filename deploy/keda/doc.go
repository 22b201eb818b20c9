// Package keda is empty: this module holds manifests, and the tests that check them.
package keda
