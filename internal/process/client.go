package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"

	"kalamlog.dev/kalam/api/wire"
)

// Client talks to a server over HTTP. Safe for concurrent use.
type Client struct {
	URL  string       // http://host:port
	HTTP *http.Client // nil: http.DefaultClient
}

// SQL runs a batch over HTTP and returns its results; an error reply becomes a *RefusedError.
func (c *Client) SQL(ctx context.Context, sql string, params ...any) ([]wire.Result, error) {
	body, err := json.Marshal(map[string]any{"sql": sql, "params": params})
	if err != nil {
		return nil, err
	}
	var reply wire.SQLReply
	if err := c.Call(ctx, http.MethodPost, "/v1/sql", "application/json", bytes.NewReader(body), nil, &reply); err != nil {
		return nil, err
	}
	return reply.Results, nil
}

// Call sends one request and decodes the JSON reply into out (nil: not read).
func (c *Client) Call(ctx context.Context, method, path, contentType string, body io.Reader, header http.Header, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return err
	}
	maps.Copy(req.Header, header)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	res, err := h.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return decodeError(res)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	d := json.NewDecoder(res.Body)
	d.UseNumber()
	return d.Decode(out)
}

func decodeError(res *http.Response) error {
	var reply wire.ErrorReply
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return fmt.Errorf("status %d without an error body: %w", res.StatusCode, err)
	}
	return &RefusedError{Status: res.StatusCode, Reply: reply.Error}
}

// RefusedError is an error reply of the server.
type RefusedError struct {
	Status int // HTTP
	Reply  wire.Error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: %s (status %d)", e.Reply.Code, e.Reply.Message, e.Status)
}
