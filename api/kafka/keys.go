package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// apiKey is one kind of request: the versions spoken, the layout of its body and what answers it.
type apiKey struct {
	code     int16
	name     string
	min, max int16
	layout   layout
	request  func() kmsg.Request
	serve    func(context.Context, *peer, kmsg.Request) (kmsg.Response, error)
}

// keySpec is how a key's file declares it.
type keySpec struct {
	name     string
	min, max int16
	layout   string
}

// newKey joins a declaration with the request type and the handler. The handler's response gets the request's version; an error from it closes
// the connection and is logged, so what the protocol can say belongs into the response.
func newKey[Q kmsg.Request](
	spec keySpec, request func() Q, serve func(context.Context, *peer, Q) (kmsg.Response, error),
) (apiKey, error) {
	l, err := parseLayout(spec.layout)
	if err != nil {
		return apiKey{}, fmt.Errorf("declare API key %s: %w", spec.name, err)
	}
	return apiKey{
		code: request().Key(), name: spec.name, min: spec.min, max: spec.max, layout: l,
		request: func() kmsg.Request { return request() },
		serve: func(ctx context.Context, p *peer, q kmsg.Request) (kmsg.Response, error) {
			return serve(ctx, p, q.(Q))
		},
	}, nil
}

// registry holds the API keys in ascending order. What it holds is what ApiVersions advertises. It does not change once built.
type registry struct {
	keys   []apiKey
	byCode map[int16]*apiKey
}

// newRegistry lists every API key of the door. A new one is a file and a line here.
func newRegistry(s *Server) (*registry, error) {
	r := &registry{byCode: make(map[int16]*apiKey)}
	for _, declare := range []func() (apiKey, error){
		s.produceKey,
		s.fetchKey,
		s.listOffsetsKey,
		s.metadataKey,
		s.offsetCommitKey,
		s.offsetFetchKey,
		s.findCoordinatorKey,
		s.joinGroupKey,
		s.heartbeatKey,
		s.leaveGroupKey,
		s.syncGroupKey,
		s.describeGroupsKey,
		s.listGroupsKey,
		s.apiVersionsKey,
		s.offsetForLeaderEpochKey,
		s.deleteGroupsKey,
		s.describeClusterKey,
	} {
		k, err := declare()
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, k)
	}
	for i := range r.keys {
		r.byCode[r.keys[i].code] = &r.keys[i]
	}
	return r, nil
}

// key returns the API key with the code, nil if it is not spoken.
func (r *registry) key(code int16) *apiKey { return r.byCode[code] }

// decode reads body as a request of the version.
func (k *apiKey) decode(version int16, body []byte) (kmsg.Request, error) {
	q := k.request()
	q.SetVersion(version)
	if !k.layout.check(body, version, q.IsFlexible()) {
		return nil, malformed("the body is no %s request of version %d", k.name, version)
	}
	if err := q.ReadFrom(body); err != nil {
		return nil, malformed("the body is no %s request of version %d: %v", k.name, version, err)
	}
	return q, nil
}

// flexible reports whether the version has tagged fields.
func (k *apiKey) flexible(version int16) bool {
	q := k.request()
	q.SetVersion(version)
	return q.IsFlexible()
}

// speaks reports whether the version is among those advertised.
func (k *apiKey) speaks(version int16) bool { return version >= k.min && version <= k.max }
