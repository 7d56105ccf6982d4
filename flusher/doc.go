// Package flusher moves changes from the log into sharded Parquet files. A flush is a job: it writes the changes since the
// last flush to new files and then commits them to the table's manifest by one batch through the log, so that each change is
// in exactly one committed file whatever crashes when. Jobs are started, cancelled and asked for by messages to one actor, and
// every state of theirs is a row of system.jobs. DESIGN.md tells more.
package flusher
