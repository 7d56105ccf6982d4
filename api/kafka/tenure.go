package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// tenure is the term in which this node coordinates the consumer groups of a cluster. It begins with an entry in system.cluster that names node and
// term; each commit of offsets is conditional on it. So a coordinator that was deposed and does not know it yet cannot overwrite what its successor has
// stored. Members are not handed over: they join again.
type tenure struct {
	mu   sync.Mutex // held while the entry is written
	term uint64     // 0: this node does not coordinate
}

const (
	propertyCoordinator = "kafka_coordinator"
	claimTimeout        = 5 * time.Second
	catchUpTimeout      = 5 * time.Second
)

// coordinate makes sure that this node coordinates, or says where the client stands.
func (s *Server) coordinate(ctx context.Context) errorCode {
	if s.o.Cluster == nil {
		return errNone
	}
	s.tenure.mu.Lock()
	defer s.tenure.mu.Unlock()
	node, term := s.o.Cluster.Leader()
	if node != s.o.NodeID {
		s.resignLocked()
		return errNotCoordinator
	}
	if s.tenure.term == term {
		return errNone
	}
	s.resignLocked()
	if err := s.claim(ctx, term); err != nil {
		s.o.Logger.Warn("kafka: this node leads and cannot coordinate groups yet", "error", err)
		return errCoordinatorLoadInProgress
	}
	s.tenure.term = term
	return errNone
}

// resignLocked forgets the members of all groups; tenure.mu is held.
func (s *Server) resignLocked() {
	if s.tenure.term != 0 {
		s.tenure.term = 0
		s.groups.reset()
	}
}

// resign ends the tenure after a commit that it was not allowed to make.
func (s *Server) resign() {
	s.tenure.mu.Lock()
	defer s.tenure.mu.Unlock()
	s.resignLocked()
}

func coordinatorName(node int32, term uint64) string {
	return fmt.Sprintf("node %d, term %d", node, term)
}

// claim writes that this node coordinates in term. On return everything stored before is readable here.
func (s *Server) claim(ctx context.Context, term uint64) error {
	t := s.o.Materializer.Catalog().TableByID(materializer.SystemCluster)
	m, err := t.NewRow(materializer.Upsert, []expr.Value{expr.TextOf(propertyCoordinator), expr.TextOf(coordinatorName(s.o.NodeID, term))})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	return s.write(ctx, []materializer.Mutation{m})
}

// fence is the condition on which this node may store offsets; none on a node that is alone.
func (s *Server) fence() ([]materializer.Mutation, error) {
	if s.o.Cluster == nil {
		return nil, nil
	}
	s.tenure.mu.Lock()
	term := s.tenure.term
	s.tenure.mu.Unlock()
	t := s.o.Materializer.Catalog().TableByID(materializer.SystemCluster)
	m, err := t.OfKey(materializer.Check, []expr.Value{expr.TextOf(propertyCoordinator)})
	if err != nil {
		return nil, err
	}
	m.Partition = log.Partition{Table: materializer.SystemCluster}
	m.Where = expr.Binary{
		Op: "=", L: expr.Column{Name: "value"}, R: expr.Literal{Value: expr.TextOf(coordinatorName(s.o.NodeID, term))},
	}
	return []materializer.Mutation{m}, nil
}

// deposed reports whether err says that another node coordinates.
func deposed(err error) bool {
	return problem.Is(err, problem.VersionConflict) || problem.Is(err, problem.KeyNotFound)
}
