// Package expr is the one evaluator of SQL expressions: WHERE clauses at apply, SET expressions of UPDATE, live filters.
// Its answers equal those of a SELECT, which DuckDB computes: three-valued logic, exact 64-bit integers and decimals,
// DuckDB's types of results, casts and overflows. What it cannot compute exactly so, Compile refuses.
//
// An expression is a Node. Bind puts values in place of its parameters, Compile makes it a Program, which Eval or Match
// run on a Row. SQL prints a Node as text; Encode and Decode, AppendValue and DecodeValue are the stored forms of nodes
// and values, AppendJSON and FromJSON their public ones.
//
// Evaluation is deterministic: it depends on the row alone, not on the clock, the time zone of the machine or its
// processor. Errors are *problem.Error. The package is a leaf: it imports no package of Kalam but internal/problem.
package expr
