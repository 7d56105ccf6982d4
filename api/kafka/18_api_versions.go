package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// apiVersionsCode is the key whose responses never have a flexible header.
const apiVersionsCode = 18

func (s *Server) apiVersionsKey() (apiKey, error) {
	return newKey(keySpec{
		name: "ApiVersions", min: 0, max: 4,
		layout: "v3:str v3:str",
	}, kmsg.NewPtrApiVersionsRequest, s.serveAPIVersions)
}

func (s *Server) serveAPIVersions(_ context.Context, _ *peer, q *kmsg.ApiVersionsRequest) (kmsg.Response, error) {
	r := kmsg.NewPtrApiVersionsResponse()
	if q.Version >= 3 && (!validSoftwareName(q.ClientSoftwareName) || !validSoftwareName(q.ClientSoftwareVersion)) {
		r.ErrorCode = errInvalidRequest
		return r, nil
	}
	for i := range s.keys.keys {
		r.ApiKeys = append(r.ApiKeys, advertise(&s.keys.keys[i]))
	}
	return r, nil
}

// unsupportedAPIVersions answers a version that is not spoken: in the form of version 0, with the versions of ApiVersions itself, so that the client
// can ask again.
func unsupportedAPIVersions(k *apiKey) kmsg.Response {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = errUnsupportedVersion
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{advertise(k)}
	return r
}

func advertise(k *apiKey) kmsg.ApiVersionsResponseApiKey {
	a := kmsg.NewApiVersionsResponseApiKey()
	a.ApiKey, a.MinVersion, a.MaxVersion = k.code, k.min, k.max
	return a
}

// validSoftwareName reports whether name is letters, digits, '-' and '.', beginning and ending with a letter or digit.
func validSoftwareName(name string) bool {
	for i := range len(name) {
		c := name[i]
		inner := i > 0 && i < len(name)-1 && (c == '-' || c == '.')
		if !inner && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != ""
}
