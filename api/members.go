package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
)

// Cluster is what operators see and change of the cluster: *cluster.Cluster.
type Cluster interface {
	Status(ctx context.Context) (wire.ClusterStatus, error)
	Add(ctx context.Context, node log.NodeID, address string) error
	Remove(ctx context.Context, node log.NodeID) error
	Replace(ctx context.Context, node log.NodeID) error
	Transfer(ctx context.Context, node log.NodeID) error
}

// clusterStatus answers GET /v1/cluster.
func (s *Server) clusterStatus(c echo.Context) error {
	if s.cluster == nil {
		return errNoCluster()
	}
	status, err := s.cluster.Status(c.Request().Context())
	if err != nil {
		return err
	}
	s.reply(c, http.StatusOK, status)
	return nil
}

// maxChange is the largest body of a change of the members, in bytes.
const maxChange = 4 << 10

// changeCluster answers POST /v1/cluster/add, remove, replace and transfer with the status after the change.
func (s *Server) changeCluster(c echo.Context) error {
	if s.cluster == nil {
		return errNoCluster()
	}
	var q wire.ClusterChange
	d := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, maxChange))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return problem.New(problem.BadJSON, "the body is no change of the cluster").WithHint(`send {"node": 3}, to add a node {"node": 4, "address": "host:port"}`).Because(err)
	}
	if err := s.change(c.Request().Context(), c.Param("change"), q); err != nil {
		return err
	}
	return s.clusterStatus(c)
}

func (s *Server) change(ctx context.Context, change string, q wire.ClusterChange) error {
	node := log.NodeID(q.Node)
	switch change {
	case "add":
		return s.cluster.Add(ctx, node, q.Address)
	case "remove":
		return s.cluster.Remove(ctx, node)
	case "replace":
		return s.cluster.Replace(ctx, node)
	case "transfer":
		return s.cluster.Transfer(ctx, node)
	}
	return problem.New(problem.NotFound, "there is no change %q of a cluster", change).WithHint("the changes are add, remove, replace and transfer")
}

func errNoCluster() error {
	return problem.New(problem.NotFound, "this server is no member of a cluster")
}
