package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster tells of the nodes that speak Kafka for the same log: *cluster.Cluster.
type Cluster interface {
	// Brokers lists those with a Kafka listener, by id.
	Brokers() ([]Broker, error)
	// Leader returns the node that leads, 0 while there is none, and its term. It does not go back.
	Leader() (node int32, term uint64)
}

// Broker is a node as clients reach it.
type Broker struct {
	Node int32
	Host string
	Port int32
}

// epoch is the leader epoch of every partition. What is committed is never cut off, so any node can serve it under any epoch; clients want to
// see it grow with a new leader.
func (s *Server) epoch() int32 {
	if s.o.Cluster == nil {
		return 0
	}
	_, term := s.o.Cluster.Leader()
	return int32(term & 0x7fffffff)
}

// leader returns the node that clients are sent to for every partition, -1 if there is none now.
func (s *Server) leader(brokers []Broker) int32 {
	if s.o.Cluster == nil {
		return s.o.NodeID
	}
	node, _ := s.o.Cluster.Leader()
	if node == 0 {
		return -1
	}
	for _, b := range brokers {
		if b.Node == node {
			return node
		}
	}
	return s.o.NodeID // the leader speaks no Kafka, and every node has everything
}

// brokers lists the nodes, this one first, whatever the address book says of it: it answers.
func (s *Server) brokers(p *peer) []Broker {
	self := Broker{Node: s.o.NodeID}
	self.Host, self.Port = s.address(p)
	all := []Broker{self}
	if s.o.Cluster == nil {
		return all
	}
	others, err := s.o.Cluster.Brokers()
	if err != nil {
		s.o.Logger.Error("kafka: the other nodes cannot be listed", "error", err)
	}
	for _, b := range others {
		if b.Node != self.Node {
			all = append(all, b)
		}
	}
	return all
}

func metadataBrokers(brokers []Broker) []kmsg.MetadataResponseBroker {
	all := make([]kmsg.MetadataResponseBroker, len(brokers))
	for i, b := range brokers {
		all[i] = kmsg.NewMetadataResponseBroker()
		all[i].NodeID, all[i].Host, all[i].Port = b.Node, b.Host, b.Port
	}
	return all
}

func describedBrokers(brokers []Broker) []kmsg.DescribeClusterResponseBroker {
	all := make([]kmsg.DescribeClusterResponseBroker, len(brokers))
	for i, b := range brokers {
		all[i] = kmsg.NewDescribeClusterResponseBroker()
		all[i].NodeID, all[i].Host, all[i].Port = b.Node, b.Host, b.Port
	}
	return all
}

func nodesOf(brokers []Broker) []int32 {
	nodes := make([]int32, len(brokers))
	for i, b := range brokers {
		nodes[i] = b.Node
	}
	return nodes
}

// catchUp returns when everything acknowledged is readable here. A node that cannot know answers with the code, on which clients look for another.
func (s *Server) catchUp(ctx context.Context) errorCode {
	if s.o.Cluster == nil {
		return errNone
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if _, err := s.o.Log.Barrier(ctx); err != nil {
		return errNotLeaderOrFollower
	}
	return errNone
}
