// Package redis keeps state in a Redis server, under a prefix of its own for each node. It is for those who run Redis anyway, with its backups and
// monitoring. The server must be able to say when a write is durable; Open refuses one that cannot.
package redis
