// Package writeback makes a storage.Backend of a plain ordered store, which it calls the base. Committed writes are kept in memory and go to the
// base many at a time, in one atomic and durable write, so the base is only ever in states that the BeforeDurable hook has seen, and syncs once for
// thousands of commits. It also gives the base what it need not have itself: snapshots, dropping a partition at once, and an answer
// to the question whether everything that was stored is still there. DESIGN.md beside it says how.
package writeback
