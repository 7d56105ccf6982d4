package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The named integers of a cluster.
type (
	// NodeID is the number that the configuration gives a node, from 1. It stays when the node's disk is replaced.
	NodeID uint64
	// ReplicaID names one life of a node in its groups. A node that has lost its data comes back under a new one: what it
	// acknowledged and voted in its former life is gone, and Raft must not take it for the same.
	ReplicaID uint64
)

// MaxNodeID is the highest NodeID: a ReplicaID is the node's plus a multiple of MaxNodeID + 1.
const MaxNodeID = lives - 1

const lives = 1 << 10

// Node returns the node that r is a life of.
func (r ReplicaID) Node() NodeID { return NodeID(r % lives) }

// next returns the following life of the same node.
func (r ReplicaID) next() ReplicaID { return r + lives }

// TargetOf is the name by which Raft addresses a node.
func TargetOf(n NodeID) string { return "node-" + strconv.FormatUint(uint64(n), 10) }

// soloTarget is the name that the first release gave a node without peers.
const soloTarget = "solo"

// validTarget reports whether Raft may be given target.
func validTarget(target string) bool {
	digits, ok := strings.CutPrefix(target, "node-")
	n, numeric := parseDigits(digits)
	return target == soloTarget || ok && numeric && n >= 1 && n <= MaxNodeID
}

// Identity says which replica's data a directory holds. It is written before the first entry and outlives all of them: without it
// a directory that was emptied could not be told from one that was never used.
type Identity struct {
	Node    NodeID               `json:"node"`
	Replica ReplicaID            `json:"replica"`
	Target  string               `json:"target"`            // of the node
	Cluster string               `json:"cluster,omitempty"` // id of the cluster, once known
	Members map[ReplicaID]string `json:"members,omitempty"` // targets of the first members; none for a replica that joined later
	Voter   bool                 `json:"voter"`             // false until a replica that joined has caught up
}

// FirstIdentity is that of a node of a new cluster of nodes, which includes itself.
func FirstIdentity(node NodeID, nodes ...NodeID) Identity {
	id := Identity{Node: node, Replica: ReplicaID(node), Target: TargetOf(node), Voter: true, Members: make(map[ReplicaID]string)}
	for _, n := range nodes {
		id.Members[ReplicaID(n)] = TargetOf(n)
	}
	return id
}

// JoiningIdentity is that of a replica that was added to a cluster.
func JoiningIdentity(replica ReplicaID, cluster string) Identity {
	return Identity{Node: replica.Node(), Replica: replica, Target: TargetOf(replica.Node()), Cluster: cluster}
}

func (id Identity) check() error {
	switch {
	case id.Node < 1 || id.Node > MaxNodeID:
		return fmt.Errorf("log: the node id %d is not between 1 and %d", id.Node, MaxNodeID)
	case id.Replica.Node() != id.Node:
		return fmt.Errorf("log: replica %d is none of node %d", id.Replica, id.Node)
	case !validTarget(id.Target):
		return fmt.Errorf("log: %q is no target", id.Target)
	case len(id.Members) > 0 && id.Members[id.Replica] != id.Target:
		return errors.New("log: the first members must include this node")
	}
	return nil
}

const (
	identityFile    = "node"
	identityHeading = "kalam node 1 " // then the CRC-32C of what follows the line, in hexadecimal
)

// ReadIdentity returns whose data dir holds. The error is fs.ErrNotExist if it holds none.
func ReadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return firstRelease(dir)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	id, err := decodeIdentity(data)
	if err != nil {
		return Identity{}, &CorruptionError{Path: path, Err: err}
	}
	return id, nil
}

// firstRelease returns the identity of a directory that the first release made: a node 1 without peers.
func firstRelease(dir string) (Identity, error) {
	if _, err := os.Stat(filepath.Join(dir, "floor")); err != nil {
		return Identity{}, err
	}
	return Identity{Node: 1, Replica: 1, Target: soloTarget, Voter: true, Members: map[ReplicaID]string{1: soloTarget}}, nil
}

// WriteIdentity makes id durable in dir.
func WriteIdentity(dir string, id Identity) error {
	if err := id.check(); err != nil {
		return err
	}
	body, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	body = append(body, '\n')
	data := fmt.Appendf(nil, "%s%08x\n%s", identityHeading, checksum(0, body), body)
	if err := replaceFile(vfs.Default, filepath.Join(dir, identityFile), data); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

func decodeIdentity(data []byte) (Identity, error) {
	heading, body, ok := strings.Cut(string(data), "\n")
	sum, known := strings.CutPrefix(heading, identityHeading)
	if !ok || !known {
		return Identity{}, errors.New("identity of an unknown format")
	}
	if sum != fmt.Sprintf("%08x", checksum(0, []byte(body))) {
		return Identity{}, errors.New("wrong checksum")
	}
	var id Identity
	if err := json.Unmarshal([]byte(body), &id); err != nil {
		return Identity{}, err
	}
	return id, id.check()
}
