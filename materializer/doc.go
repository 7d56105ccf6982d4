// Package materializer folds the log into tables. It owns table schemas, rows and keys, turns each mutation into a Change (old row, new row) at
// apply, and keeps the current rows in a storage backend whose checkpoint is atomic with the applied Raft index.
//
// Writers build Mutations (Table.NewRow, Table.OfKey, and the methods of Catalog for DDL) and send them as a Batch through a Writer. Readers take
// a View: the rows, the catalog and the end offsets of one position. The log drives everything between through log.Fold.
//
// A batch is applied as a whole or refused as a whole. What its mutations see is the state after the batches before it and after the mutations before them in the batch.
// An Upsert or a Patch that leaves its row as it was is a change like any other: it moves the row's version, and readers of the log see it.
//
// FORMAT.md draws the stored bytes, DESIGN.md says why things are as they are.
package materializer
