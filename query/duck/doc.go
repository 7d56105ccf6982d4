// Package duck holds the embedded DuckDB: one in-memory database that may read the data directory's Parquet files and
// nothing else, connections that stream results as expr values, and a mirror of each table that a query used, which
// joins Parquet with the part of the log that is not yet flushed.
package duck
