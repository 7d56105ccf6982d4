package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) describeClusterKey() (apiKey, error) {
	return newKey(keySpec{
		name: "DescribeCluster", min: 0, max: 1,
		layout: "bool v1:i8",
	}, kmsg.NewPtrDescribeClusterRequest, s.serveDescribeCluster)
}

// endpointBrokers asks for the brokers, as opposed to the controllers.
const endpointBrokers = 1

func (s *Server) serveDescribeCluster(_ context.Context, p *peer, q *kmsg.DescribeClusterRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrDescribeClusterResponse()
	if q.Version >= 1 && q.EndpointType != endpointBrokers {
		r.ErrorCode = errInvalidRequest
		r.ErrorMessage = new("only broker endpoints can be described")
		return r, nil
	}
	r.EndpointType = endpointBrokers
	r.ClusterID = s.o.ClusterID
	brokers := s.brokers(p)
	r.ControllerID = s.leader(brokers)
	r.Brokers = describedBrokers(brokers)
	return r, nil
}
