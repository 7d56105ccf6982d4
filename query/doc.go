// Package query runs SQL: it parses a batch, checks names and rights against the catalog, sends writes to the log,
// answers reads of a key from the state and everything else with DuckDB over Parquet and the log's tail, at one
// position.
package query
