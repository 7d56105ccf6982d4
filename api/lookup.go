package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/query/expr"
)

// getRow reads one row by its key. The ETag is its version.
func (s *Server) getRow(c echo.Context) error {
	r := c.Request()
	namespace, table, segments, err := splitRowPath(r.URL)
	if err != nil {
		return err
	}
	atLeast, err := s.position(r.Context(), r.URL.Query().Get("at_least"))
	if err != nil {
		return err
	}
	t, err := s.engine.Table(r.Context(), namespace, table)
	if err != nil {
		return err
	}
	key, err := parseKey(t, segments)
	if err != nil {
		return err
	}
	row, err := s.engine.Lookup(r.Context(), namespace, table, key, atLeast)
	if err != nil {
		return err
	}
	etag := etagOf(row.Version)
	c.Response().Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		return c.NoContent(http.StatusNotModified)
	}
	body := make([]byte, 0, 512)
	body = append(body, `{"row":`...)
	body = appendObject(body, row.Columns, row.Values)
	body = append(body, `,"version":`...)
	body = strconv.AppendUint(body, uint64(row.Version), 10)
	body = append(body, `,"position":`...)
	body = appendString(body, row.Position.String())
	s.replyJSON(c, http.StatusOK, append(body, "}\n"...))
	return nil
}

// etagOf is how HTTP names a row's version.
func etagOf(version log.Offset) string { return `"` + strconv.FormatUint(uint64(version), 10) + `"` }

// latest is the token that stands for everything acknowledged so far, on any node.
const latest = "latest"

// position parses a token that a client gave and waits until it is readable here; empty is the zero position.
func (s *Server) position(ctx context.Context, token string) (log.Position, error) {
	switch token {
	case "":
		return log.Position{}, nil
	case latest:
		return s.log.Barrier(ctx)
	}
	p, err := log.ParsePosition(token)
	if err != nil {
		return p, err
	}
	return p, s.log.Reach(ctx, p)
}

// splitRowPath takes /v1/tables/{namespace}/{table}/rows/{key...} apart before its escapes are resolved: a slash
// within a key is written %2F.
func splitRowPath(u *url.URL) (namespace, table string, key []string, err error) {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/v1/tables/"), "/")
	for i, p := range parts {
		if parts[i], err = url.PathUnescape(p); err != nil {
			return "", "", nil, problem.New(problem.BadRequest, "the path does not unescape").Because(err)
		}
	}
	if len(parts) < 4 {
		return "", "", nil, problem.New(problem.NotFound, "no such path")
	}
	return parts[0], parts[1], parts[3:], nil
}

// parseKey reads a key's segments as the types of t's key columns. The user column of a user table may be left out: it
// is the caller's then, which Lookup fills in.
func parseKey(t *materializer.Table, segments []string) ([]expr.Value, error) {
	s := t.Schema()
	columns := s.Key
	if t.Kind == materializer.User && len(segments) == len(columns)-1 {
		columns = columns[1:]
	}
	if len(columns) == 0 {
		return nil, problem.New(problem.Unsupported, "%s has no key", t.QualifiedName())
	}
	if len(segments) != len(columns) {
		return nil, problem.New(problem.BadRequest, "the key of %s has %d columns, the path has %d", t.QualifiedName(), len(columns), len(segments)).
			WithHint("separate them by a slash; write a slash within a value as %%2F")
	}
	key := make([]expr.Value, len(columns))
	for i, place := range columns {
		v, err := expr.CastValue(expr.TextOf(segments[i]), s.Columns[place].Type)
		if err != nil {
			return nil, inColumn(s.Columns[place].Name, err)
		}
		key[i] = v
	}
	return key, nil
}

// appendObject appends a row as a JSON object.
func appendObject(dst []byte, columns []string, values []expr.Value) []byte {
	dst = append(dst, '{')
	for i, name := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = expr.AppendJSON(dst, values[i])
	}
	return append(dst, '}')
}

func appendString(dst []byte, s string) []byte { return expr.AppendJSON(dst, expr.TextOf(s)) }
