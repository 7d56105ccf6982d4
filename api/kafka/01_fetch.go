package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Versions above 12 name topics by id.
func (s *Server) fetchKey() (apiKey, error) {
	return newKey(keySpec{
		name: "Fetch", min: 4, max: 12,
		layout: "i32 i32 i32 v3:i32 v4:i8 v7:i32 v7:i32 (str (i32 v9:i32 i64 v12:i32 v5:i64 i32)) v7:(str [i32]) v11:str !1",
	}, kmsg.NewPtrFetchRequest, s.serveFetch)
}

// readCommitted is the isolation level whose responses list aborted transactions.
const readCommitted = 1

// serveFetch answers as soon as MinBytes are there, something is wrong, or MaxWait has passed. Sessions are not kept: every response is complete
// and has session id 0, which clients take as the order to send complete requests.
func (s *Server) serveFetch(ctx context.Context, p *peer, q *kmsg.FetchRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrFetchResponse()
	if q.SessionID != 0 {
		r.ErrorCode = errFetchSessionIDNotFound
		return r, nil
	}
	f := newFetcher(s, q, p.turn)
	if f.ahead && s.o.Cluster != nil { // what the client has read at another node may not have come here yet
		code := s.catchUp(ctx)
		if f = newFetcher(s, q, p.turn); code != errNone {
			f.giveUp(code)
		}
	}
	p.turn++
	f.fill()
	if !f.complete() {
		f.await(ctx, time.Duration(q.MaxWaitMillis)*time.Millisecond)
	}
	r.Topics = f.response()
	s.metrics.fetched.Add(float64(f.bytes))
	return r, nil
}
