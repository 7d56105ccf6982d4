// Package expr is the one evaluator of SQL expressions: WHERE clauses at apply, SET expressions of UPDATE, live filters. Its answers equal those of a
// SELECT, which DuckDB computes: three-valued logic, exact 64-bit integers and decimals, DuckDB's casts. It is a leaf: it imports no package of Kalam but internal/problem.
package expr
