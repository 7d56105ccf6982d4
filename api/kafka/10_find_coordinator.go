package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) findCoordinatorKey() (apiKey, error) {
	return newKey(keySpec{
		name: "FindCoordinator", min: 0, max: 4,
		layout: "v0-3:str v1:i8 v4:[str]",
	}, kmsg.NewPtrFindCoordinatorRequest, s.serveFindCoordinator)
}

// Kinds of coordinators.
const (
	coordinatorGroup       = 0
	coordinatorTransaction = 1
)

// serveFindCoordinator names the node that leads: it coordinates every group.
func (s *Server) serveFindCoordinator(_ context.Context, p *peer, q *kmsg.FindCoordinatorRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrFindCoordinatorResponse()
	keys := q.CoordinatorKeys
	if q.Version < 4 {
		keys = []string{q.CoordinatorKey}
	}
	for _, key := range keys {
		r.Coordinators = append(r.Coordinators, s.coordinatorOf(p, q.CoordinatorType, key))
	}
	if q.Version < 4 {
		c := &r.Coordinators[0]
		r.ErrorCode, r.ErrorMessage, r.NodeID, r.Host, r.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
	}
	return r, nil
}

func (s *Server) coordinatorOf(p *peer, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	switch {
	case kind == coordinatorTransaction:
		c.ErrorCode = errTransactionalIDAuthorization
		c.ErrorMessage = new("transactions are not supported")
	case kind != coordinatorGroup:
		c.ErrorCode = errInvalidRequest
		c.ErrorMessage = new("there are only group coordinators")
	case !validGroupID(key):
		c.ErrorCode = errInvalidGroupID
	default:
		s.setCoordinator(p, &c)
	}
	return c
}

func (s *Server) setCoordinator(p *peer, c *kmsg.FindCoordinatorResponseCoordinator) {
	brokers := s.brokers(p)
	leader := s.leader(brokers)
	for _, b := range brokers {
		if b.Node == leader {
			c.NodeID, c.Host, c.Port = b.Node, b.Host, b.Port
			return
		}
	}
	c.ErrorCode = errCoordinatorNotAvailable
	c.ErrorMessage = new("no node leads at the moment")
}
