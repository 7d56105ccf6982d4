package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query"
)

// sql runs one or more statements. Small results are sent whole with their length; larger ones are streamed while
// the statement runs, so that the server holds bufferBytes of them at most.
func (s *Server) sql(c echo.Context) error {
	request, err := s.sqlRequest(c)
	if err != nil {
		return err
	}
	out := s.newResultWriter(c)
	defer out.close()
	sink, err := newSink(out, c.Request().Header.Get(echo.HeaderAccept), s.clock)
	if err != nil {
		return err
	}
	if err := s.engine.Run(c.Request().Context(), request, sink); err != nil {
		return sink.fail(err)
	}
	return sink.finish()
}

func (s *Server) sqlRequest(c echo.Context) (query.Request, error) {
	w, err := s.decodeSQLRequest(c)
	if err != nil {
		return query.Request{}, err
	}
	q := query.Request{SQL: w.SQL, Namespace: w.Namespace, NotAtomic: w.Atomic != nil && !*w.Atomic}
	if strings.TrimSpace(w.SQL) == "" {
		return q, problem.New(problem.BadRequest, "sql is missing").WithHint(`send {"sql": "SELECT 1"}`)
	}
	if q.Params, err = sqlParams(w.Params); err != nil {
		return q, err
	}
	if q.AtLeast, err = s.position(c.Request().Context(), w.AtLeast); err != nil {
		return q, err
	}
	q.IdempotencyKey, err = idempotencyKey(c.Request().Header)
	return q, err
}

func (s *Server) decodeSQLRequest(c echo.Context) (w wire.SQLRequest, err error) {
	in, err := s.body(c, s.limits.Body)
	if err != nil {
		return w, err
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return w, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return w, badSQLRequest(err)
	}
	if rest := bytes.TrimSpace(raw[d.InputOffset():]); len(rest) > 0 {
		return w, problem.New(problem.BadJSON, "more follows after the JSON object, at byte %d", d.InputOffset()+1)
	}
	return w, nil
}

func badSQLRequest(err error) error {
	const shape = `send {"sql": "...", "params": [...], "at_least": "...", "namespace": "...", "atomic": true}`
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return problem.New(problem.BadRequest, "unknown member %s", name).WithHint(shape)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return problem.New(problem.BadJSON, "the body ends before its JSON object does").WithHint(shape)
	}
	return problem.New(problem.BadJSON, "the body is not a JSON object of statements: %s", jsonFault(err)).WithHint(shape)
}
