// Package peer connects the nodes of a cluster. Each node has one listener for the others; on it meet Raft's messages and snapshot
// streams, framed and checksummed, and the HTTP calls that nodes make to each other.
//
// Nodes know each other by targets, names such as "node-2" that never change; a [Book] says at which address a target is now. So a
// node may move to another address or grow from alone to a member of a cluster without a change to what Raft has stored.
package peer
