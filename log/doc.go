// Package log is Kalam's truth: batches of writes go through a Raft group, are folded into changes in order, and the changes of
// each (table, partition) are kept in append-only segment files that any number of readers tail.
package log
