// Package check judges the history of a run: pure functions from what clients did and saw to violations of what Kalam promises.
package check
