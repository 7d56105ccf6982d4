// Package shard says which shard of a table's flushed data a row belongs to. A strategy is a named, stateless function
// of the row's key; a Registry holds the built-in ones and those that user code registers.
//
// The key of a row is the text of its first key column, as CAST(column AS TEXT) gives it. In a user table that is the
// user's name, so one user's rows share a shard. A row of a stream without key has its partition number as key.
package shard
