// Package load is the clients of a chaos run: writers and readers over HTTP, live queries over server-sent events, Kafka consumers and a
// consumer group. They ask any node, go on to another when one fails, and record what they did and saw.
package load
