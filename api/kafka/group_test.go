package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// club is a coordinator with callers, in a bubble of virtual time.
type club struct {
	t *testing.T
	c *coordinator
}

func inClub(t *testing.T, f func(t *testing.T, k *club)) {
	synctest.Test(t, func(t *testing.T) {
		k := &club{t: t, c: newCoordinator(slog.New(slog.DiscardHandler))}
		f(t, k)
		k.c.close()
	})
}

const (
	testSession   = 10 * time.Second
	testRebalance = 60 * time.Second
)

func joinRequest(member string, edit ...func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version = 9
	q.Group, q.MemberID, q.ProtocolType = "g", member, "consumer"
	q.SessionTimeoutMillis = int32(testSession.Milliseconds())
	q.RebalanceTimeoutMillis = int32(testRebalance.Milliseconds())
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("r")}, {Name: "sticky", Metadata: []byte("s")}}
	for _, e := range edit {
		e(q)
	}
	return q
}

func instance(id string) func(*kmsg.JoinGroupRequest) {
	return func(q *kmsg.JoinGroupRequest) { q.InstanceID = &id }
}

func protocols(names ...string) func(*kmsg.JoinGroupRequest) {
	return func(q *kmsg.JoinGroupRequest) {
		q.Protocols = nil
		for _, n := range names {
			q.Protocols = append(q.Protocols, kmsg.JoinGroupRequestProtocol{Name: n})
		}
	}
}

// goJoin sends a join in the background.
func (k *club) goJoin(ctx context.Context, q *kmsg.JoinGroupRequest) <-chan *kmsg.JoinGroupResponse {
	answer := make(chan *kmsg.JoinGroupResponse, 1)
	go func() { answer <- k.c.join(ctx, &peer{clientID: "c", remote: "10.0.0.1"}, q) }()
	synctest.Wait()
	return answer
}

func (k *club) join(q *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	return <-k.goJoin(k.t.Context(), q)
}

// newID gets a member id.
func (k *club) newID() string {
	k.t.Helper()
	r := k.join(joinRequest(""))
	if r.ErrorCode != errMemberIDRequired || r.MemberID == "" {
		k.t.Fatalf("first join: error %d, member %q", r.ErrorCode, r.MemberID)
	}
	return r.MemberID
}

func syncRequest(j *kmsg.JoinGroupResponse, assignments ...string) *kmsg.SyncGroupRequest {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Version = 5
	q.Group, q.MemberID, q.Generation = "g", j.MemberID, j.Generation
	q.ProtocolType, q.Protocol = j.ProtocolType, j.Protocol
	for i := 0; i < len(assignments); i += 2 {
		q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
			MemberID: assignments[i], MemberAssignment: []byte(assignments[i+1]),
		})
	}
	return q
}

func (k *club) goSync(q *kmsg.SyncGroupRequest) <-chan *kmsg.SyncGroupResponse {
	answer := make(chan *kmsg.SyncGroupResponse, 1)
	go func() { answer <- k.c.sync(k.t.Context(), q) }()
	synctest.Wait()
	return answer
}

func (k *club) heartbeat(member string, generation int32) errorCode {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation = "g", member, generation
	return k.c.heartbeat(q)
}

func (k *club) commit(member string, generation int32) (func(), errorCode) {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.MemberID, q.Generation = "g", member, generation
	return k.c.beginCommit(q)
}

func (k *club) state() groupState {
	state := groupDead
	k.c.with("g", false, func(g *group) { state = g.state })
	return state
}

func (k *club) want(what string, got, want errorCode) {
	k.t.Helper()
	if got != want {
		k.t.Fatalf("%s: error %d, want %d", what, got, want)
	}
}

// stable brings n members into a stable group and returns their answers, the leader's first.
func (k *club) stable(n int) []*kmsg.JoinGroupResponse {
	k.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = k.newID()
	}
	var answers []<-chan *kmsg.JoinGroupResponse
	for _, id := range ids {
		answers = append(answers, k.goJoin(k.t.Context(), joinRequest(id)))
	}
	joined := make([]*kmsg.JoinGroupResponse, n)
	for i := range answers {
		joined[i] = <-answers[i]
		k.want("join", joined[i].ErrorCode, errNone)
	}
	k.settle(joined)
	return joined
}

// settle syncs the members, whose first is the leader: each is assigned "work of" itself.
func (k *club) settle(joined []*kmsg.JoinGroupResponse) {
	k.t.Helper()
	var assignments []string
	for _, m := range joined[0].Members {
		assignments = append(assignments, m.MemberID, "work of "+m.MemberID)
	}
	var followers []<-chan *kmsg.SyncGroupResponse
	for _, j := range joined[1:] {
		followers = append(followers, k.goSync(syncRequest(j)))
	}
	all := append([]<-chan *kmsg.SyncGroupResponse{k.goSync(syncRequest(joined[0], assignments...))}, followers...)
	for i, answer := range all {
		s := <-answer
		if k.want("sync", s.ErrorCode, errNone); string(s.MemberAssignment) != "work of "+joined[i].MemberID {
			k.t.Fatalf("member %d is assigned %q", i, s.MemberAssignment)
		}
	}
	if k.state() != groupStable {
		k.t.Fatalf("state %s after sync", k.state())
	}
}

func TestGroupOfOne(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		id := k.newID()
		j := k.join(joinRequest(id))
		if j.ErrorCode != errNone || j.Generation != 1 || j.LeaderID != id || len(j.Members) != 1 || *j.Protocol != "range" {
			t.Fatalf("join: %+v", j)
		}
		if state := k.state(); state != groupCompleting {
			t.Fatalf("state %s", state)
		}
		k.settle([]*kmsg.JoinGroupResponse{j})
		k.want("heartbeat", k.heartbeat(id, 1), errNone)
		k.want("leave", k.c.leave("g", id, nil), errNone)
		if state := k.state(); state != groupDead {
			t.Fatalf("state %s after the last member left", state)
		}
		k.want("heartbeat after leaving", k.heartbeat(id, 1), errUnknownMemberID)
	})
}

func TestGroupOfThree(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		joined := k.stable(3)
		if len(joined[0].Members) != 3 || joined[1].Members != nil {
			t.Errorf("the leader sees %d members, a follower %d", len(joined[0].Members), len(joined[1].Members))
		}
		k.want("leave", k.c.leave("g", joined[2].MemberID, nil), errNone)
		again := []<-chan *kmsg.JoinGroupResponse{}
		for _, j := range joined[:2] {
			k.want("heartbeat while rebalancing", k.heartbeat(j.MemberID, j.Generation), errRebalanceInProgress)
			again = append(again, k.goJoin(t.Context(), joinRequest(j.MemberID)))
		}
		second := []*kmsg.JoinGroupResponse{<-again[0], <-again[1]}
		if second[0].Generation != joined[0].Generation+1 || second[0].LeaderID != joined[0].LeaderID {
			t.Errorf("generation %d led by %q", second[0].Generation, second[0].LeaderID)
		}
		k.want("heartbeat of the last generation", k.heartbeat(second[0].MemberID, 1), errIllegalGeneration)
		k.settle(second)
	})
}

func TestSilentMemberIsRemoved(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		joined := k.stable(2)
		for range 3 {
			time.Sleep(testSession / 2)
			synctest.Wait()
			if code := k.heartbeat(joined[0].MemberID, 1); code == errRebalanceInProgress {
				break
			}
		}
		j := k.join(joinRequest(joined[0].MemberID))
		if j.ErrorCode != errNone || len(j.Members) != 1 {
			t.Fatalf("after the other's session: %+v", j)
		}
		k.want("heartbeat of the one removed", k.heartbeat(joined[1].MemberID, 1), errUnknownMemberID)
	})
}

// Members who do not join again within the rebalance timeout are left behind, even if they send heartbeats.
func TestStragglerIsLeftBehind(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		joined := k.stable(2)
		id := k.newID()
		newcomer := k.goJoin(t.Context(), joinRequest(id))
		eager := k.goJoin(t.Context(), joinRequest(joined[0].MemberID))
		for range 2 * testRebalance / testSession {
			k.heartbeat(joined[1].MemberID, 1)
			time.Sleep(testSession / 2)
		}
		synctest.Wait()
		a, b := <-eager, <-newcomer
		if a.ErrorCode != errNone || b.ErrorCode != errNone || len(a.Members)+len(b.Members) != 2 {
			t.Fatalf("errors %d and %d, %d and %d members", a.ErrorCode, b.ErrorCode, len(a.Members), len(b.Members))
		}
		k.want("heartbeat of the straggler", k.heartbeat(joined[1].MemberID, 1), errUnknownMemberID)
	})
}

// A leader that joins and never sends the assignment does not hold up the others for ever.
func TestLeaderWithoutAssignment(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		a, b := k.newID(), k.newID()
		joinA, joinB := k.goJoin(t.Context(), joinRequest(a)), k.goJoin(t.Context(), joinRequest(b))
		leader, follower := <-joinA, <-joinB
		waiting := k.goSync(syncRequest(follower))
		for range 4 * testRebalance / testSession {
			k.heartbeat(leader.MemberID, leader.Generation)
			k.heartbeat(follower.MemberID, follower.Generation)
			time.Sleep(testSession / 4)
		}
		k.want("the follower's sync", (<-waiting).ErrorCode, errRebalanceInProgress)
		j := k.join(joinRequest(b))
		if j.ErrorCode != errNone || j.LeaderID != b {
			t.Fatalf("%+v", j)
		}
	})
}

func TestMemberIDGivenButNotUsed(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		id, lost := k.newID(), k.newID()
		waiting := k.goJoin(t.Context(), joinRequest(id))
		if k.state() != groupPreparing {
			t.Fatalf("state %s while a member is expected", k.state())
		}
		time.Sleep(testSession + time.Millisecond)
		if j := <-waiting; j.ErrorCode != errNone {
			t.Fatalf("error %d", j.ErrorCode)
		}
		k.want("the id that was lost", k.join(joinRequest(lost)).ErrorCode, errUnknownMemberID)
	})
}

func TestOldClientsJoinInOneStep(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		q := joinRequest("", func(q *kmsg.JoinGroupRequest) { q.Version = 3 })
		if j := k.join(q); j.ErrorCode != errNone || j.MemberID == "" || j.LeaderID != j.MemberID {
			t.Fatalf("%+v", j)
		}
	})
}

func TestJoinRefusals(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		edit := func(f func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest { return joinRequest("", f) }
		k.want("no group id", k.join(edit(func(q *kmsg.JoinGroupRequest) { q.Group = "" })).ErrorCode, errInvalidGroupID)
		k.want("short session", k.join(edit(func(q *kmsg.JoinGroupRequest) { q.SessionTimeoutMillis = 1 })).ErrorCode, errInvalidSessionTimeout)
		k.want("no protocols", k.join(edit(protocols())).ErrorCode, errInconsistentGroupProtocol)
		k.want("unknown member", k.join(joinRequest("nobody")).ErrorCode, errUnknownMemberID)
		k.stable(1)
		k.want("no common protocol", k.join(edit(protocols("other"))).ErrorCode, errInconsistentGroupProtocol)
		k.want("another type", k.join(edit(func(q *kmsg.JoinGroupRequest) { q.ProtocolType = "connect" })).ErrorCode, errInconsistentGroupProtocol)
		k.want("unknown member of a group", k.join(joinRequest("nobody")).ErrorCode, errUnknownMemberID)
	})
}

func TestProtocolIsTheOneMostPrefer(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		var answers []<-chan *kmsg.JoinGroupResponse
		ids := []string{k.newID(), k.newID(), k.newID()}
		for i, names := range [][]string{{"range", "sticky"}, {"sticky", "range"}, {"own", "sticky", "range"}} {
			answers = append(answers, k.goJoin(t.Context(), joinRequest(ids[i], protocols(names...))))
		}
		for _, a := range answers {
			if j := <-a; j.ErrorCode != errNone || *j.Protocol != "sticky" {
				t.Errorf("error %d, protocol %v", j.ErrorCode, j.Protocol)
			}
		}
	})
}

func TestRestartedInstanceKeepsItsPlace(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		first := k.join(joinRequest("", instance("i")))
		k.want("join", first.ErrorCode, errNone)
		k.settle([]*kmsg.JoinGroupResponse{first})
		second := k.join(joinRequest("", instance("i")))
		if second.ErrorCode != errNone || second.Generation != 1 || second.MemberID == first.MemberID || !second.SkipAssignment {
			t.Fatalf("%+v", second)
		}
		if s := <-k.goSync(syncRequest(second)); string(s.MemberAssignment) != "work of "+first.MemberID {
			t.Errorf("assigned %q", s.MemberAssignment)
		}
		id := "i"
		q := kmsg.NewPtrHeartbeatRequest()
		q.Group, q.MemberID, q.Generation, q.InstanceID = "g", first.MemberID, 1, &id
		k.want("heartbeat of the former self", k.c.heartbeat(q), errFencedInstanceID)
		k.want("join of the former self", k.join(joinRequest(first.MemberID, instance("i"))).ErrorCode, errFencedInstanceID)
		k.want("leave by instance", k.c.leave("g", "", &id), errNone)
		if k.state() != groupDead {
			t.Errorf("state %s", k.state())
		}
	})
}

func TestInstanceWithOtherProtocolsRebalances(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		first := k.join(joinRequest("", instance("i")))
		k.settle([]*kmsg.JoinGroupResponse{first})
		second := k.join(joinRequest("", instance("i"), protocols("sticky")))
		if second.ErrorCode != errNone || second.Generation != 2 || *second.Protocol != "sticky" || len(second.Members) != 1 {
			t.Fatalf("%+v", second)
		}
	})
}

// Whoever commits is in the generation it believes in, and no generation begins before the commit is done.
func TestCommits(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		done, code := k.commit("", -1)
		k.want("commit without a group", code, errNone)
		done()
		_, code = k.commit("", 3)
		k.want("commit of a group that is gone", code, errIllegalGeneration)
		j := k.stable(1)[0]
		_, code = k.commit("", -1)
		k.want("anonymous commit to a group with members", code, errUnknownMemberID)
		_, code = k.commit(j.MemberID, 2)
		k.want("commit of another generation", code, errIllegalGeneration)
		done, code = k.commit(j.MemberID, 1)
		k.want("commit", code, errNone)
		again := k.goJoin(t.Context(), joinRequest(j.MemberID))
		time.Sleep(2 * testRebalance)
		select {
		case <-again:
			t.Fatal("a generation begins before the commit is done")
		default:
		}
		done()
		if next := <-again; next.ErrorCode != errNone || next.Generation != 2 {
			t.Fatalf("%+v", next)
		}
		_, code = k.commit(j.MemberID, 2)
		k.want("commit before the assignment", code, errRebalanceInProgress)
	})
}

// A member whose connection breaks while it waits has its session to come back.
func TestAbandonedJoin(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		joined := k.stable(2)
		ctx, hangUp := context.WithCancel(t.Context())
		lost := k.goJoin(ctx, joinRequest(joined[0].MemberID)) // the leader: this begins a rebalance
		hangUp()
		k.want("abandoned join", (<-lost).ErrorCode, errNotCoordinator)
		other := k.goJoin(t.Context(), joinRequest(joined[1].MemberID))
		back := k.join(joinRequest(joined[0].MemberID))
		if j := <-other; back.ErrorCode != errNone || j.ErrorCode != errNone || back.Generation != 2 || j.Generation != 2 {
			t.Fatalf("%+v and %+v", back, j)
		}
	})
}

func TestCloseAnswersWaiters(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		k.newID() // keeps the join below waiting
		waiting := k.goJoin(t.Context(), joinRequest(k.newID()))
		k.c.close()
		k.want("join", (<-waiting).ErrorCode, errNotCoordinator)
		k.want("join after close", k.join(joinRequest("")).ErrorCode, errCoordinatorNotAvailable)
	})
}

// No two members are ever assigned the same work in one generation, whatever members come, go and fall silent.
func TestChurn(t *testing.T) {
	inClub(t, func(t *testing.T, k *club) {
		owners := make(map[int32]map[string]bool)
		stop, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		const workers = 8
		results := make(chan assigned)
		for i := range workers {
			go func() {
				defer func() { ended <- struct{}{} }()
				k.work(stop, time.Duration(i+1)*700*time.Millisecond, results)
			}()
		}
		go func() {
			time.Sleep(5 * time.Minute)
			cancel()
		}()
		for alive := workers; alive > 0; {
			select {
			case r := <-results:
				if owners[r.generation] == nil {
					owners[r.generation] = make(map[string]bool)
				}
				if owners[r.generation][r.work] {
					t.Errorf("generation %d assigns %q twice", r.generation, r.work)
				}
				owners[r.generation][r.work] = true
			case <-ended:
				alive--
			}
		}
		if len(owners) < 20 {
			t.Errorf("only %d generations: %v", len(owners), slices.Sorted(maps.Keys(owners)))
		}
	})
}

type assigned struct {
	generation int32
	work       string
}

// work joins, syncs, sends heartbeats for a while and leaves or falls silent, over and over.
func (k *club) work(stop context.Context, patience time.Duration, results chan<- assigned) {
	p := &peer{clientID: "w"}
	for round := 0; stop.Err() == nil; round++ {
		id := k.c.join(stop, p, joinRequest("")).MemberID
		for end := time.Now().Add(patience * time.Duration(round%5+1)); stop.Err() == nil && time.Now().Before(end); {
			j := k.c.join(stop, p, joinRequest(id))
			if j.ErrorCode != errNone {
				break
			}
			var split []string
			for i, m := range j.Members {
				split = append(split, m.MemberID, fmt.Sprintf("part %d", i))
			}
			s := k.c.sync(stop, syncRequest(j, split...))
			if s.ErrorCode == errNone && len(s.MemberAssignment) > 0 {
				results <- assigned{j.Generation, string(s.MemberAssignment)}
			}
			for k.heartbeat(id, j.Generation) == errNone && time.Now().Before(end) {
				time.Sleep(300 * time.Millisecond)
			}
		}
		if round%3 > 0 {
			k.c.leave("g", id, nil)
		}
	}
}
