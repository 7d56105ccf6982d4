// Package log is Kalam's truth. Batches of writes go through a Raft group; a [Fold] turns them into changes, in order and the
// same on every node; the changes of each (table, partition) are kept in append-only segment files that any number of readers tail.
//
// # What holds
//
//   - A batch that [Log.Propose] has acknowledged is committed and synced by a majority of the group's nodes. There is no weaker mode.
//   - The changes of a [Partition] are totally ordered. Offsets start at 0, have no gaps and are never given twice.
//   - An acknowledgement carries a [Position]. Whatever waits for it ([Log.Wait]) and reads then, on any node, sees the write.
//   - A [Tail] returns every change behind its start once, in the order (index, partition, offset).
//   - Where a [Partition] starts after retention is the same on every node. A reader that asks for what lies before is told (Trimmed), never
//     given what comes next instead.
//   - A byte on disk that is not what was written is found when it is read: a [CorruptionError] names the file. A log or state that has
//     become shorter than it was is refused by [Open].
//   - After a failed sync nothing is acknowledged any more; [Log.Failed] tells, and the process should end.
//
// What a batch or a change means is the Fold's affair; to this package both are bytes. DESIGN.md explains how it works and why,
// FORMAT.md draws the files.
package log
