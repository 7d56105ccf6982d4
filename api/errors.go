package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// statusClientClosedRequest is nginx's code for a client that went away; nobody reads the reply.
const statusClientClosedRequest = 499

// class is how a problem looks from outside.
type class struct {
	status   int    // HTTP
	sqlstate string // SQL standard and PostgreSQL
}

// classOf is the one error table. Codes it does not know are faults of the server.
func classOf(code problem.Code) class {
	switch code {
	case problem.BadRequest:
		return class{http.StatusBadRequest, "08P01"}
	case problem.BadJSON:
		return class{http.StatusBadRequest, "22032"}
	case problem.BodyTooLarge:
		return class{http.StatusRequestEntityTooLarge, "54000"}
	case problem.SyntaxError:
		return class{http.StatusBadRequest, "42601"}
	case problem.UnknownNamespace:
		return class{http.StatusNotFound, "3F000"}
	case problem.UnknownTable:
		return class{http.StatusNotFound, "42P01"}
	case problem.UnknownColumn:
		return class{http.StatusBadRequest, "42703"}
	case problem.UnknownFunction:
		return class{http.StatusBadRequest, "42883"}
	case problem.DuplicateNamespace:
		return class{http.StatusConflict, "42P06"}
	case problem.DuplicateTable:
		return class{http.StatusConflict, "42P07"}
	case problem.DuplicateColumn:
		return class{http.StatusBadRequest, "42701"}
	case problem.DuplicateKey:
		return class{http.StatusConflict, "23505"}
	case problem.KeyNotFound:
		return class{http.StatusNotFound, "02000"}
	case problem.VersionConflict:
		return class{http.StatusPreconditionFailed, "40001"}
	case problem.NotNull:
		return class{http.StatusBadRequest, "23502"}
	case problem.TypeMismatch:
		return class{http.StatusBadRequest, "42804"}
	case problem.InvalidValue:
		return class{http.StatusBadRequest, "22P02"}
	case problem.OutOfRange:
		return class{http.StatusBadRequest, "22003"}
	case problem.DivisionByZero:
		return class{http.StatusBadRequest, "22012"}
	case problem.InvalidDefinition:
		return class{http.StatusBadRequest, "42P16"}
	case problem.Unsupported:
		return class{http.StatusBadRequest, "0A000"}
	default:
		return classOfState(code)
	}
}

// classOfState classifies what depends on the server's state rather than on what was asked.
func classOfState(code problem.Code) class {
	switch code {
	case problem.Forbidden:
		return class{http.StatusForbidden, "42501"}
	case problem.IdempotencyMismatch:
		return class{http.StatusUnprocessableEntity, "22023"}
	case problem.PositionInvalid:
		return class{http.StatusBadRequest, "22023"}
	case problem.Trimmed:
		return class{http.StatusGone, "55000"}
	case problem.UnknownJob, problem.UnknownLiveQuery, problem.NotFound:
		return class{http.StatusNotFound, "42704"}
	case problem.MethodNotAllowed:
		return class{http.StatusMethodNotAllowed, "08P01"}
	case problem.NotAtomic:
		return class{http.StatusBadRequest, "54000"}
	case problem.DiskFull:
		return class{http.StatusInsufficientStorage, "53100"}
	case problem.Timeout:
		return class{http.StatusGatewayTimeout, "57014"}
	case problem.Cancelled:
		return class{statusClientClosedRequest, "57014"}
	case problem.Overloaded:
		return class{http.StatusServiceUnavailable, "53000"}
	case problem.ShuttingDown:
		return class{http.StatusServiceUnavailable, "57P01"}
	default:
		return class{http.StatusInternalServerError, "XX000"}
	}
}

// problemOf turns any error into the problem that the user is told. What is no problem is a fault of the server:
// nothing of it is shown.
func problemOf(err error) *problem.Error {
	if p := problem.As(err); p != nil {
		return p
	}
	var tooLarge *http.MaxBytesError
	var fromEcho *echo.HTTPError
	switch {
	case errors.As(err, &tooLarge):
		return problem.New(problem.BodyTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &fromEcho):
		return problemOfRouter(fromEcho)
	case errors.Is(err, context.Canceled):
		return problem.New(problem.Cancelled, "the request was cancelled").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return problem.New(problem.Timeout, "the request took longer than allowed").Because(err)
	}
	return problem.New(problem.Internal, "the server failed").Because(err)
}

// problemOfRouter translates the refusals of the HTTP router.
func problemOfRouter(err *echo.HTTPError) *problem.Error {
	switch err.Code {
	case http.StatusNotFound:
		return problem.New(problem.NotFound, "no such path").WithHint("/openapi.json lists the paths")
	case http.StatusMethodNotAllowed:
		return problem.New(problem.MethodNotAllowed, "the path does not take this method").WithHint("the Allow header lists those it takes")
	case http.StatusRequestEntityTooLarge:
		return problem.New(problem.BodyTooLarge, "the body is too large")
	}
	if err.Code < http.StatusInternalServerError {
		return problem.New(problem.BadRequest, "the request is malformed").Because(err)
	}
	return problem.New(problem.Internal, "the server failed").Because(err)
}

// wireError returns p as the client sees it.
func wireError(p *problem.Error) wire.Error {
	w := wire.Error{
		Code: string(p.Code), Message: p.Message, Hint: p.Hint, SQLState: classOf(p.Code).sqlstate,
		Position: p.Position, Statement: p.Statement, RowsKept: p.Kept,
	}
	if c := p.Conflict; c != nil {
		w.Conflict = &wire.Conflict{Key: json.RawMessage(c.Key), Row: c.Row}
		if c.Version != problem.NoVersion {
			w.Conflict.CurrentVersion = &c.Version
		}
	}
	return w
}

// describe turns err into what the client is told, and logs it if it is a fault of the server.
func (s *Server) describe(r *http.Request, err error) (wire.Error, int) {
	p := problemOf(err)
	w := wireError(p)
	status := classOf(p.Code).status
	if status == http.StatusInternalServerError {
		id := requestID(r.Context())
		s.logger.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("request_id", id),
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
		if p.Code != problem.Internal || p.Hint == "" {
			w.Hint = "the server's log has the cause under request id " + id
		}
	}
	return w, status
}

// fail answers c with err. If the reply has begun it can only be broken off, which the client sees as a truncated body.
func (s *Server) fail(c echo.Context, err error) {
	w, status := s.describe(c.Request(), err)
	if c.Response().Committed {
		panic(http.ErrAbortHandler)
	}
	s.reply(c, status, wire.ErrorReply{Error: w})
}

// errorHandler is echo's, for errors that handlers return.
func (s *Server) errorHandler(err error, c echo.Context) {
	s.fail(c, err)
}
