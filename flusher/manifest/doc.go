// Package manifest says which data files hold a table's flushed changes, as rows of the system tables data_files, flushed and superseded. query reads it at a view, flusher commits it.
package manifest
