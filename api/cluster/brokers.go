package cluster

import (
	"net"
	"strconv"

	"kalamlog.dev/kalam/api/kafka"
)

// Brokers implements kafka.Cluster.
func (c *Cluster) Brokers() ([]kafka.Broker, error) {
	nodes, err := c.Nodes()
	var brokers []kafka.Broker
	for _, n := range nodes {
		host, port, splitErr := net.SplitHostPort(n.Kafka)
		number, numberErr := strconv.ParseUint(port, 10, 16)
		if splitErr == nil && numberErr == nil {
			brokers = append(brokers, kafka.Broker{Node: int32(n.ID), Host: host, Port: int32(number)})
		}
	}
	return brokers, err
}

// Leader implements kafka.Cluster.
func (c *Cluster) Leader() (node int32, term uint64) {
	l := c.o.Log.Leader()
	return int32(l.Node()), l.Term
}
