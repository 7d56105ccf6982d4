package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"
)

// rawGroup is a bare Raft group in this process: dragonboat on tan, with a state machine that does nothing. Its replicas talk over loopback TCP.
type rawGroup struct {
	hosts []*dragonboat.NodeHost // of replica 1, 2, ...
}

const rawShard = 1

// startRaw starts a group of size replicas in dir, with Kalam's timing of a node alone or of three.
func startRaw(ctx context.Context, dir string, size int) (*rawGroup, error) {
	for _, name := range []string{"raft", "dragonboat", "rsm", "transport", "grpc", "util", "config", "logdb", "raftpb", "tan"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	members := make(map[uint64]string, size)
	for r := range size {
		address, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		members[uint64(r+1)] = address
	}
	tick := 50
	if size == 1 {
		tick = 10
	}
	g := &rawGroup{}
	for r := range size {
		if err := g.start(filepath.Join(dir, strconv.Itoa(r+1)), uint64(r+1), members, uint64(tick)); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

func (g *rawGroup) start(dir string, replica uint64, members map[uint64]string, tick uint64) error {
	host, err := dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir: dir, RTTMillisecond: tick, RaftAddress: members[replica],
		Expert: config.ExpertConfig{LogDBFactory: tan.Factory, LogDB: config.GetTinyMemLogDBConfig()},
	})
	if err != nil {
		return err
	}
	g.hosts = append(g.hosts, host)
	return host.StartOnDiskReplica(members, false, func(uint64, uint64) statemachine.IOnDiskStateMachine { return nothing{} }, config.Config{
		ReplicaID: replica, ShardID: rawShard, ElectionRTT: 10, HeartbeatRTT: 1, CheckQuorum: true, PreVote: true,
	})
}

func (g *rawGroup) close() {
	for _, h := range g.hosts {
		h.Close()
	}
}

// propose returns work that proposes payload at host and waits for its result.
func propose(ctx context.Context, host *dragonboat.NodeHost, payload []byte) func(int, int) error {
	session := host.GetNoOPSession(rawShard)
	return func(int, int) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := host.SyncPropose(ctx, session, payload)
		return err
	}
}

// roles waits until one leads and returns its host and another.
func (g *rawGroup) roles(ctx context.Context) (leader, follower *dragonboat.NodeHost, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		id, _, known, err := g.hosts[0].GetLeaderID(rawShard)
		if err == nil && known {
			leader, follower = g.hosts[id-1], g.hosts[int(id)%len(g.hosts)]
			if propose(ctx, leader, []byte("ready"))(0, 0) == nil {
				return leader, follower, nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, nil, errors.New("the raw group has no leader")
}

// raft times proposals of the size of a small write to a bare group of one, on the same log storage.
func (b *bench) raft(ctx context.Context) error {
	g, err := startRaw(ctx, filepath.Join(b.dir, "raft"), 1)
	if err != nil {
		return err
	}
	defer g.close()
	leader, _, err := g.roles(ctx)
	if err != nil {
		return err
	}
	return b.clients("raw Raft proposal", propose(ctx, leader, bytes.Repeat([]byte{7}, 200)))
}

// rawThree times proposals of size bytes to a bare group of three, at the leader and at a follower.
func (b *bench) rawThree(ctx context.Context, size int) error {
	dir := filepath.Join(b.dir, "raft-three")
	defer os.RemoveAll(dir)
	g, err := startRaw(ctx, dir, 3)
	if err != nil {
		return err
	}
	defer g.close()
	leader, follower, err := g.roles(ctx)
	if err != nil {
		return err
	}
	payload := bytes.Repeat([]byte{7}, size)
	if err := b.clients("3 raw nodes, at the leader", propose(ctx, leader, payload)); err != nil {
		return fmt.Errorf("at the leader: %w", err)
	}
	if err := b.clients("3 raw nodes, at the follower", propose(ctx, follower, payload)); err != nil {
		return fmt.Errorf("at a follower: %w", err)
	}
	return nil
}
