// Package parse turns SQL text into statements and expression trees. DDL, DML and filters are PostgreSQL's grammar (pg_query); Kalam's own statements (FLUSH TABLE, KILL JOB, SHOW, DESCRIBE,
// SUBSCRIBE TO) are recognised before it; a SELECT is kept as text for DuckDB, with as much of its shape as the fast path and live queries need.
package parse
