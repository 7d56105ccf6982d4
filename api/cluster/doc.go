// Package cluster makes nodes one cluster: how a node finds its place in it ([Find]), the address book that all nodes share, the calls
// between nodes, and what an operator does to the members.
//
// # Lives of a node
//
// A node keeps its number for ever; what it has stored belongs to one replica, its present life. A node whose data are lost gets a
// new replica by [Cluster.Replace]: a replica that forgot what it had acknowledged could make a majority forget it too. So a node
// with an empty directory never starts under a replica that has run before.
//
// The nodes' addresses are in system.nodes, the id of the cluster in system.cluster, both replicated like everything else.
package cluster
