package flusher

import (
	"context"
	"crypto/rand"
	"fmt"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// JobState is where a job stands.
type JobState string

// The states. A job goes created, running, then one of the others.
const (
	Created   JobState = "created"
	Running   JobState = "running"
	Completed JobState = "completed"
	Failed    JobState = "failed"
	Cancelled JobState = "cancelled"
)

// Ended reports whether s is final.
func (s JobState) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// kindFlush is the kind of all jobs there are.
const kindFlush = "flush"

// Status is a row of system.jobs. Times are in microseconds, 0 if not reached.
type Status struct {
	ID        string
	Kind      string
	Namespace string
	Table     string
	State     JobState
	Progress  float64 // 0 to 1
	Rows      int64   // changes written so far
	Location  string  // folder of the files written, relative to the data directory; empty if there was nothing to write
	Error     string
	Created   int64
	Started   int64
	Finished  int64
	Node      uint64
}

// job is one flush. The actor creates it; its own goroutine runs it.
type job struct {
	id       string
	table    log.TableID
	context  context.Context // of the job's work; kept because the job outlives the request that started it
	cancel   context.CancelCauseFunc
	recorded chan struct{} // closed once the job is in system.jobs, or has failed to get there
	done     chan struct{} // closed after the last status
	status   Status        // the actor's copy, the newest it was told
}

// newJobID returns "flush-" and a UUIDv7: ids sort by time of creation, to the millisecond.
func newJobID(c clock.Clock) string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	ms := uint64(c.Now().UnixMilli())
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	return fmt.Sprintf("flush-%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// The columns of system.jobs.
const (
	jobID = iota
	jobKind
	jobNamespace
	jobTable
	jobState
	jobProgress
	jobRows
	jobLocation
	jobError
	jobCreated
	jobStarted
	jobFinished
	jobNode
)

// mutation puts s into system.jobs.
func (s *Status) mutation(jobs *materializer.Table) (materializer.Mutation, error) {
	m, err := jobs.NewRow(materializer.Upsert, []expr.Value{
		jobID: expr.TextOf(s.ID), jobKind: expr.TextOf(s.Kind), jobNamespace: expr.TextOf(s.Namespace), jobTable: expr.TextOf(s.Table),
		jobState: expr.TextOf(string(s.State)), jobProgress: expr.FloatOf(expr.Double, s.Progress), jobRows: expr.IntOf(expr.BigInt, s.Rows),
		jobLocation: textOrNull(s.Location), jobError: textOrNull(s.Error),
		jobCreated: timeOrNull(s.Created), jobStarted: timeOrNull(s.Started), jobFinished: timeOrNull(s.Finished),
		jobNode: expr.IntOf(expr.BigInt, int64(s.Node)),
	})
	if err != nil {
		return m, fmt.Errorf("encode job %s: %w", s.ID, err)
	}
	return m, nil
}

func textOrNull(s string) expr.Value {
	if s == "" {
		return expr.Value{}
	}
	return expr.TextOf(s)
}

func timeOrNull(micros int64) expr.Value {
	if micros == 0 {
		return expr.Value{}
	}
	return expr.IntOf(expr.TimestampTZ, micros)
}

// decodeStatus reads a row of system.jobs.
func decodeStatus(r materializer.Row) Status {
	text := func(i int) string {
		if v := r.Column(i); !v.IsNull() {
			return string([]byte(v.Str()))
		}
		return ""
	}
	number := func(i int) int64 {
		if v := r.Column(i); !v.IsNull() {
			return v.Int()
		}
		return 0
	}
	s := Status{
		ID: text(jobID), Kind: text(jobKind), Namespace: text(jobNamespace), Table: text(jobTable), State: JobState(text(jobState)),
		Rows: number(jobRows), Location: text(jobLocation), Error: text(jobError),
		Created: number(jobCreated), Started: number(jobStarted), Finished: number(jobFinished), Node: uint64(number(jobNode)),
	}
	if v := r.Column(jobProgress); !v.IsNull() {
		s.Progress = v.Float()
	}
	return s
}
