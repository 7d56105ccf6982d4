package log

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/statemachine"

	"kalamlog.dev/kalam/internal/problem"
)

// Raft settings that no option changes.
const (
	groupID         GroupID = 1
	electionTicks           = 20        // the least without a word from the leader before another is elected; dragonboat draws up to twice as many
	soloTicks               = 10        // the same for a node alone, which waits for itself at every start
	retransferTicks         = 2         // between two requests to hand over
	settleTicks             = 3         // for an entry that a former leader forwards to the present one
	engineWorkers           = 4         // can never be changed for an existing directory
	entryBuffer             = 256 << 10 // tan keeps 16 of them; a larger update allocates

	// Each answer to a heartbeat by a follower that lags has the leader read what it lacks and send it again, until the first of it is acknowledged. On a
	// slow disk a heartbeat a tick kept the leader busy until it was deposed.
	heartbeatTicks = 4
)

// raftOptions is what a group is started with.
type raftOptions struct {
	dir      string
	identity Identity
	network  Network // nil: there are no peers
	tick     time.Duration
	inMemory uint64 // bytes of entries not applied yet
	guard    *logGuard
	create   statemachine.CreateOnDiskStateMachineFunc
	events   *raftEvents
}

// startRaft starts dragonboat and the group. Damage that dragonboat reports by a panic comes back as an error.
func startRaft(o raftOptions) (host *dragonboat.NodeHost, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = raftPanic(o.guard, r)
		}
		if err != nil && host != nil {
			err = errors.Join(err, closeHost(host))
			host = nil
		}
	}()
	host, err = dragonboat.NewNodeHost(hostConfig(o))
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", o.dir, err)
	}
	members := make(map[uint64]string, len(o.identity.Members))
	for r, target := range o.identity.Members {
		members[uint64(r)] = target
	}
	if err := host.StartOnDiskReplica(members, len(members) == 0, o.create, groupConfig(o)); err != nil {
		return host, fmt.Errorf("start raft group in %s: %w", o.dir, err)
	}
	return host, nil
}

// closeHost closes host, which may have panicked before.
func closeHost(host *dragonboat.NodeHost) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close raft: %v", r)
		}
	}()
	host.Close()
	return nil
}

// raftPanic explains what dragonboat could not get over.
func raftPanic(g *logGuard, r any) error {
	if g.refused != nil {
		return g.refused
	}
	if e := faultOfDisk(r); e != nil {
		return e
	}
	return &CorruptionError{Path: g.fs.lastOpened(g.dir), Err: fmt.Errorf("the raft log cannot be read: %s; if this node has peers, "+
		"replace it with \"kalam cluster replace %d\", else restore a backup", firstLine(fmt.Sprint(r)), g.node)}
}

// faultOfDisk recognizes a panic for which the bytes on the disk are not to blame: nobody should remove them.
func faultOfDisk(r any) error {
	text := firstLine(fmt.Sprint(r))
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE} {
		if !strings.Contains(text, e.Error()) {
			continue
		}
		if e == syscall.ENOSPC || e == syscall.EDQUOT {
			return problem.New(problem.DiskFull, "the disk is too full to open the raft log").
				WithHint("free about %d MiB", ballastBytes>>20).Because(e)
		}
		return fmt.Errorf("open raft log: %s: %w", text, e)
	}
	return nil
}

func hostConfig(o raftOptions) config.NodeHostConfig {
	logdb := config.GetTinyMemLogDBConfig()
	logdb.KVWriteBufferSize = entryBuffer
	c := config.NodeHostConfig{
		NodeHostDir:         o.dir,
		RaftAddress:         o.identity.Target,
		RTTMillisecond:      uint64(max(o.tick.Milliseconds(), 1)),
		RaftEventListener:   o.events,
		SystemEventListener: o.events,
		Expert: config.ExpertConfig{
			FS:           o.guard.fs,
			LogDBFactory: o.guard,
			LogDB:        logdb,
			Engine: config.EngineConfig{
				ExecShards: engineWorkers, CommitShards: engineWorkers, ApplyShards: engineWorkers,
				SnapshotShards: engineWorkers, CloseShards: engineWorkers,
			},
		},
	}
	c.Expert.TransportFactory = soloTransport{}
	if o.network != nil {
		c.Expert.TransportFactory = o.network.Transport(validTarget)
	}
	return c
}

func groupConfig(o raftOptions) config.Config {
	ticks, heartbeat := uint64(electionTicks), uint64(heartbeatTicks)
	if o.network == nil {
		ticks, heartbeat = soloTicks, 1
	}
	return config.Config{
		ReplicaID:           uint64(o.identity.Replica),
		IsNonVoting:         !o.identity.Voter,
		ShardID:             uint64(groupID),
		CheckQuorum:         true,
		PreVote:             true,
		ElectionRTT:         ticks,
		HeartbeatRTT:        heartbeat,
		OrderedConfigChange: true,
		MaxInMemLogSize:     o.inMemory,
		// Snapshots are requested by Log.Checkpoint alone: one mechanism, with the Fold synced outside the apply loop first.
		SnapshotEntries: 0,
		WaitReady:       true,
	}
}

var errNoPeers = errors.New("this node has no peers")

// soloTransport is the network of a node without peers: none.
type soloTransport struct{}

// Create implements config.TransportFactory.
func (t soloTransport) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	return t
}

// Validate implements config.TransportFactory.
func (soloTransport) Validate(target string) bool { return validTarget(target) }

// Name implements raftio.ITransport.
func (soloTransport) Name() string { return "solo" }

// Start implements raftio.ITransport.
func (soloTransport) Start() error { return nil }

// Close implements raftio.ITransport.
func (soloTransport) Close() error { return nil }

// GetConnection implements raftio.ITransport.
func (soloTransport) GetConnection(context.Context, string) (raftio.IConnection, error) {
	return nil, errNoPeers
}

// GetSnapshotConnection implements raftio.ITransport.
func (soloTransport) GetSnapshotConnection(context.Context, string) (raftio.ISnapshotConnection, error) {
	return nil, errNoPeers
}

// startRaft starts the group on l's replica.
func (l *Log) startRaft() (*dragonboat.NodeHost, error) {
	o := &l.options
	bridgeRaftLog(o.Logger)
	dir := filepath.Join(o.Dir, "raft")
	if err := adoptHost(dir, o.Identity.Target); err != nil {
		return nil, fmt.Errorf("prepare raft log in %s: %w", dir, err)
	}
	path, cut, err := dropTornTail(dir)
	if err != nil {
		return nil, fmt.Errorf("look for a torn record in %s: %w", path, err)
	}
	if cut > 0 {
		o.Logger.Warn("cut off a record that was being written when the machine stopped", "file", path, "bytes", cut)
	}
	opened := l.replica.checkpoint.Index
	return startRaft(raftOptions{
		dir:      dir,
		identity: o.Identity,
		network:  o.Network,
		tick:     o.RTT,
		inMemory: uint64(2 * o.Senders * (o.MaxBatchBytes + o.MaxEntryBytes)),
		guard:    &logGuard{dir: dir, node: o.Identity.Node, fs: newRaftFS(), need: max(l.floor.last(), opened)},
		create: func(uint64, uint64) statemachine.IOnDiskStateMachine {
			return &machine{replica: l.replica, opened: opened}
		},
		events: &raftEvents{leader: &l.leader, logger: o.Logger, removed: func() {
			if l.store.over() == nil {
				l.failure.fail(ErrRemoved)
			}
		}},
	})
}
