// Package materializer folds the log into tables: it owns table schemas, rows and keys, turns each mutation into a Change (old row, new row) at
// apply, and keeps the current rows in a storage backend whose checkpoint is atomic with the applied Raft index.
package materializer
