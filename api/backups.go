package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/api/backup"
	"kalamlog.dev/kalam/api/wire"
	"kalamlog.dev/kalam/internal/problem"
)

// Backups lets clients fetch backups: *backup.Keeper.
type Backups interface {
	Begin(ctx context.Context) (wire.Backup, error)
	Describe(id string) (wire.Backup, error)
	Part(ctx context.Context, id, name string) (*backup.Part, error)
	End(id string) error
}

// beginBackup answers POST /v1/backup.
func (s *Server) beginBackup(c echo.Context) error {
	if s.backups == nil {
		return errNoBackups()
	}
	b, err := s.backups.Begin(c.Request().Context())
	if err != nil {
		return err
	}
	s.reply(c, http.StatusCreated, b)
	return nil
}

// describeBackup answers GET /v1/backup/{id}.
func (s *Server) describeBackup(c echo.Context) error {
	if s.backups == nil {
		return errNoBackups()
	}
	b, err := s.backups.Describe(c.Param("id"))
	if err != nil {
		return err
	}
	s.reply(c, http.StatusOK, b)
	return nil
}

// endBackup answers DELETE /v1/backup/{id}.
func (s *Server) endBackup(c echo.Context) error {
	if s.backups == nil {
		return errNoBackups()
	}
	if err := s.backups.End(c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// backupPart answers GET /v1/backup/{id}/{part}. The checksum follows the body: what is sent is made meanwhile.
func (s *Server) backupPart(c echo.Context) error {
	if s.backups == nil {
		return errNoBackups()
	}
	name, err := url.PathUnescape(c.Param("*"))
	if err != nil {
		return problem.New(problem.BadRequest, "the path is malformed").Because(err)
	}
	ctx := c.Request().Context()
	part, err := s.backups.Part(ctx, c.Param("id"), name)
	if err != nil {
		return err
	}
	defer part.Close()
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, echo.MIMEOctetStream)
	h.Set("Trailer", backup.TrailerSum)
	sum, err := part.Send(ctx, c.Response())
	switch {
	case err == nil:
		h.Set(backup.TrailerSum, sum)
		return nil
	case ctx.Err() != nil:
		return errors.Join(problem.New(problem.Cancelled, "the client went away"), err)
	}
	return err
}

func errNoBackups() error {
	return problem.New(problem.NotFound, "this server makes no backups")
}
