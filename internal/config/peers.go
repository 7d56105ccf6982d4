package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxNodeID is the highest number of a node: log.MaxNodeID.
const maxNodeID = 1023

// parsePeer reads "1=host:port".
func parsePeer(s string) (node int, address string, err error) {
	number, address, ok := strings.Cut(s, "=")
	node, nerr := strconv.Atoi(strings.TrimSpace(number))
	if !ok || nerr != nil || node < 1 || node > maxNodeID {
		return 0, "", fmt.Errorf("%q is no peer: want NODE=host:port such as 1=10.0.0.1:2901", s)
	}
	address = strings.TrimSpace(address)
	return node, address, checkAddress(address)
}

// faults reports peers that cannot be.
func (c Cluster) faults() []error {
	var faults []error
	seen := map[int]bool{}
	addresses := map[string]int{}
	for _, p := range c.Peers {
		node, address, err := parsePeer(p)
		switch other := addresses[address]; {
		case err != nil:
			faults = append(faults, fmt.Errorf("cluster.peers: %w", err))
			continue
		case seen[node]:
			faults = append(faults, fmt.Errorf("cluster.peers: node %d is listed twice", node))
		case other != 0:
			faults = append(faults, fmt.Errorf("cluster.peers: nodes %d and %d have the same address", other, node))
		}
		seen[node], addresses[address] = true, node
	}
	if len(c.Peers) > 0 && c.Listen() == "" {
		faults = append(faults, errors.New("cluster.raft: a node with peers must listen for them; set it to host:port, or list the node itself in cluster.peers"))
	}
	return faults
}

// Listen returns where the node listens for peers: Raft, or its own address among the peers; "" for a node that is alone.
func (c Cluster) Listen() string {
	if c.Raft != "" {
		return c.Raft
	}
	return c.Members()[c.NodeID]
}
