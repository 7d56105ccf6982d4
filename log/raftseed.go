package log

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// deployment is the folder of dragonboat's only deployment.
const deployment = "00000000000000000001"

// seedRaft makes the Raft log of a new group whose only member is id's, and which begins behind index: as if everything up to there had been
// compacted away. Who joins such a group can only get a snapshot. Raft's own state has to begin there too, so that Raft and the
// state agree on every index: see docs/decisions/0014.
func seedRaft(dir string, id Identity, index Index, term uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("make raft log in %s: %v", dir, r)
		}
	}()
	if err := adoptHost(dir, id.Target); err != nil {
		return fmt.Errorf("make raft log in %s: %w", dir, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	home := filepath.Join(dir, host, deployment)
	if err := os.MkdirAll(home, 0o750); err != nil {
		return fmt.Errorf("make raft log: %w", err)
	}
	if err := writeSeed(dir, home, id, index, term); err != nil {
		return fmt.Errorf("make raft log in %s: %w", dir, err)
	}
	for _, d := range []string{home, filepath.Dir(home), dir, filepath.Dir(dir)} {
		if err := syncDir(vfs.Default, d); err != nil {
			return fmt.Errorf("sync raft log: %w", err)
		}
	}
	return nil
}

func writeSeed(dir, home string, id Identity, index Index, term uint64) (err error) {
	o := hostConfig(raftOptions{dir: dir, identity: id, guard: &logGuard{dir: dir, fs: newRaftFS()}, events: &raftEvents{}})
	db, err := tan.Factory.Create(o, func(config.LogDBInfo) {}, []string{home}, []string{home})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	members := map[uint64]string{uint64(id.Replica): id.Target}
	snapshot := raftpb.Snapshot{
		ShardID: uint64(groupID), Index: uint64(index), Term: term, OnDiskIndex: uint64(index), Type: raftpb.OnDiskStateMachine,
		Dummy:      true, // it has no file: the state machine has everything
		Membership: raftpb.Membership{ConfigChangeId: uint64(index), Addresses: members},
	}
	if err := db.ImportSnapshot(snapshot, uint64(id.Replica)); err != nil {
		return err
	}
	bootstrap := raftpb.NewBootstrapInfo(false, raftpb.OnDiskStateMachine, members)
	if err := db.SaveBootstrapInfo(uint64(groupID), uint64(id.Replica), bootstrap); err != nil {
		return err
	}
	return checkSeed(db, id, index)
}

// checkSeed reads back what was written.
func checkSeed(db raftio.ILogDB, id Identity, index Index) error {
	snapshot, err := db.GetSnapshot(uint64(groupID), uint64(id.Replica))
	if err != nil {
		return err
	}
	state, err := db.ReadRaftState(uint64(groupID), uint64(id.Replica), snapshot.Index)
	if err != nil {
		return err
	}
	if Index(snapshot.Index) != index || Index(state.State.Commit) != index || state.EntryCount > 0 {
		return fmt.Errorf("it says snapshot %d, commit %d, %d entries instead of index %d", snapshot.Index, state.State.Commit, state.EntryCount, index)
	}
	return nil
}
