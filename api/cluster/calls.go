package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"kalamlog.dev/kalam/internal/peer"
)

// Paths of the calls between nodes, on the listener for peers.
const (
	pathState = "/peer/v1/state"
	pathPlace = "/peer/v1/place"
	pathTake  = "/peer/v1/take"
)

// callTimeout bounds a call to another node.
const callTimeout = 5 * time.Second

// maxReply is the most that a call reads.
const maxReply = 4 << 20

// caller calls other nodes.
type caller struct{ client *http.Client }

func newCaller(n *peer.Net) caller { return caller{client: n.Client()} }

func (c caller) close() { c.client.CloseIdleConnections() }

// call posts question as JSON to target, or gets if it is nil, and decodes the answer.
func (c caller) call(ctx context.Context, target, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
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
	raw, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: it answers %s: %s", target, reply.Status, bytes.TrimSpace(raw))
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("ask %s: %w", target, err)
	}
	return nil
}
