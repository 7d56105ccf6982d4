// Package pebble keeps state in a Pebble store: the default backend. There is no write-ahead log; what a crash takes with the memtable, Raft replays.
//
// FORMAT.md in materializer shows how keys lie; DESIGN.md there says why it is safe to do without a write-ahead log.
package pebble
