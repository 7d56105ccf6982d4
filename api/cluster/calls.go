package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/peer"
	"kalamlog.dev/kalam/internal/problem"
)

// Paths of the calls between nodes, on the listener for peers.
const (
	pathState  = "/peer/v1/state"
	pathPlace  = "/peer/v1/place"
	pathTake   = "/peer/v1/take"
	pathSpread = "/peer/v1/spread"
	pathFiles  = "/peer/v1/files/" // + path of a data file
	pathFlush  = "/peer/v1/flush"
	pathKill   = "/peer/v1/kill"
)

// callTimeout bounds a call to another node.
const callTimeout = 5 * time.Second

// maxMessage is the longest question or answer, in bytes.
const maxMessage = 4 << 20

// caller calls other nodes.
type caller struct{ client *http.Client }

func newCaller(n *peer.Net) caller { return caller{client: n.Client()} }

func (c caller) close() { c.client.CloseIdleConnections() }

// call posts question as JSON to target, or gets if it is nil, and decodes the answer.
func (c caller) call(ctx context.Context, target, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.callLong(ctx, target, path, question, answer)
}

// callLong is call for as long as ctx lasts.
func (c caller) callLong(ctx context.Context, target, path string, question, answer any) error {
	method, body := http.MethodGet, []byte(nil)
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return fmt.Errorf("encode question: %w", err)
		}
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+target+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	reply, err := c.client.Do(r)
	if err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(reply.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	if reply.StatusCode == http.StatusConflict {
		var p wire.Error
		if err := json.Unmarshal(raw, &p); err == nil && p.Code != "" {
			return problem.New(problem.Code(p.Code), "%s", p.Message).WithHint("%s", p.Hint)
		}
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: it answers %s: %s", target, reply.Status, bytes.TrimSpace(raw))
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	return nil
}
