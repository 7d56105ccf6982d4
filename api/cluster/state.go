package cluster

import "kalamlog.dev/kalam/log"

// State is what a node tells the others of itself.
type State struct {
	Node    log.NodeID    `json:"node"`
	Replica log.ReplicaID `json:"replica,omitempty"` // 0: it has none yet
	Cluster string        `json:"cluster,omitempty"`
	First   []log.NodeID  `json:"first,omitempty"` // those that it would form a new cluster with, ascending

	Ready    bool   `json:"ready"`              // its log is open
	Position string `json:"position,omitempty"` // what it has applied
	Version  string `json:"version,omitempty"`
	DiskFull bool   `json:"disk_full,omitempty"` // it refuses writes
}

// Place is a member's answer to a node that asks under which replica it belongs to the cluster.
type Place struct {
	Known     bool              `json:"known"`               // the node was added to the cluster
	Replica   log.ReplicaID     `json:"replica,omitempty"`   // its newest
	Voter     bool              `json:"voter,omitempty"`     // whether that one votes
	Used      bool              `json:"used,omitempty"`      // whether it has ever run
	Cluster   string            `json:"cluster,omitempty"`   // id
	Addresses map[string]string `json:"addresses,omitempty"` // of all nodes, by target
}
