package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"kalamlog.dev/kalam/api/cluster"
	"kalamlog.dev/kalam/internal/config"
	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/log"
)

// peers is what a node has of the others before its log is open.
type peers struct {
	identity log.Identity
	book     *peer.Book
	net      *peer.Net   // nil: the node is alone
	full     atomic.Bool // a majority of the nodes is short of disk space
	absent   bool        // there are others although net is nil: only what needs no majority can be opened
}

// openPeers starts the listener for peers, if there is to be one, and finds the place of this node. It owns l.
func openPeers(ctx context.Context, c config.Config, l net.Listener, logger *slog.Logger) (*peers, error) {
	p := &peers{book: peer.NewBook()}
	node := log.NodeID(c.Cluster.NodeID)
	seat := cluster.Seat{Dir: c.Server.Data, Node: node, Peers: make(map[log.NodeID]string), Book: p.book, Logger: logger}
	for id, address := range c.Cluster.Members() {
		seat.Peers[log.NodeID(id)] = address
	}
	if l != nil {
		for id, address := range seat.Peers {
			p.book.Set(log.TargetOf(id), address)
		}
		self, err := ownTarget(c.Server.Data, node)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		if p.net, err = peer.Open(peer.Options{Listener: l, Self: self, Book: p.book, Logger: logger}); err != nil {
			return nil, err
		}
		seat.Net = p.net
	}
	var err error
	if p.identity, err = cluster.Find(ctx, seat); err != nil {
		return nil, errors.Join(fmt.Errorf("find this node's place: %w", err), p.close())
	}
	return p, nil
}

// ownTarget is what Raft calls this node: what its data say, for the first release called every node the same.
func ownTarget(dir string, node log.NodeID) (string, error) {
	id, err := log.ReadIdentity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return log.TargetOf(node), nil
	}
	return id.Target, err
}

func (p *peers) close() error {
	if p.net == nil {
		return nil
	}
	return p.net.Close()
}

// advertised is the address at which others reach l: the host of the node's own entry among the peers where l listens on all.
func advertised(l net.Listener, c config.Config) string {
	if l == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return l.Addr().String()
	}
	if own := c.Cluster.Members()[c.Cluster.NodeID]; own != "" {
		if h, _, err := net.SplitHostPort(own); err == nil {
			host = h
		}
	}
	return net.JoinHostPort(host, port)
}

// raftAddress is where the other nodes reach this one.
func raftAddress(l net.Listener, c config.Config) string {
	if own := c.Cluster.Members()[c.Cluster.NodeID]; own != "" && !strings.HasSuffix(own, ":0") {
		return own
	}
	return advertised(l, c)
}
