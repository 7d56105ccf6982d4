package api

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/identity"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
)

// maxIdempotencyKey is the longest Idempotency-Key in bytes.
const maxIdempotencyKey = 255

// postRows writes the rows of a body of any length. A body of one chunk is stored whole or not at all, as is any body with
// atomic=true; of a longer one that fails midway the first rows stay, and the reply says how many.
func (s *Server) postRows(c echo.Context) error {
	in, done, err := s.newIngest(c)
	if err != nil {
		return err
	}
	defer done()
	err = in.run(c.Request().Context())
	s.metrics.rows.Add(float64(in.kept.rows))
	reply := in.kept.reply()
	if in.kept.replayed {
		c.Response().Header().Set("Idempotency-Replayed", "true")
	} else if in.key != "" {
		c.Response().Header().Set("Idempotency-Since", s.rememberedSince())
	}
	if err == nil {
		if in.rows.rows == 1 && in.drafter.mode != modeDelete && in.kept.etag() != "" {
			c.Response().Header().Set("ETag", in.kept.etag())
		}
		if in.kept.position.IsZero() {
			reply.Position = s.log.Position().String()
		}
		s.reply(c, http.StatusOK, reply)
		return nil
	}
	w, status := s.describe(c.Request(), err)
	w.RowsKept = &in.kept.rows
	if hint := in.kept.hint(); hint != "" {
		w.Hint = strings.TrimPrefix(w.Hint+"; "+hint, "; ")
	}
	reply.Error = &w
	s.reply(c, status, reply)
	return nil
}

// newIngest checks everything about a request but its body. done gives back what it holds.
func (s *Server) newIngest(c echo.Context) (in *ingest, done func(), err error) {
	r := c.Request()
	caller, ok := identity.FromContext(r.Context())
	if !ok {
		return nil, nil, problem.New(problem.Forbidden, "the request has no caller")
	}
	sequence, err := rowFormat(r.Header.Get(echo.HeaderContentType))
	if err != nil {
		return nil, nil, err
	}
	drafter, err := s.rowDrafterOf(c, caller)
	if err != nil {
		return nil, nil, err
	}
	atomic, err := boolParam(c.QueryParam("atomic"), "atomic", false)
	if err != nil {
		return nil, nil, err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return nil, nil, err
	}
	if key != "" {
		key = "rows/" + caller.Name + "/" + key
	}
	body, err := s.body(c, s.limits.RowsBody)
	if err != nil {
		return nil, nil, err
	}
	buf := s.buffers.Get().(*[]byte)
	in = &ingest{
		rows: newRowScanner(body, *buf, s.limits.Row, sequence), drafter: drafter, write: s.writer.Write, key: key, caller: caller.Name, atomic: atomic,
	}
	return in, func() { s.buffers.Put(buf) }, nil
}

func (s *Server) rowDrafterOf(c echo.Context, caller identity.Caller) (*rowDrafter, error) {
	mode, err := parseRowMode(c.QueryParam("mode"))
	if err != nil {
		return nil, err
	}
	cond, err := parsePrecondition(c.Request().Header, mode)
	if err != nil {
		return nil, err
	}
	t, err := s.engine.Table(c.Request().Context(), c.Param("namespace"), c.Param("table"))
	if err != nil {
		return nil, err
	}
	if t.ID < materializer.FirstUserTable {
		return nil, problem.New(problem.Forbidden, "%s is a system table: it is changed by statements alone", t.QualifiedName())
	}
	return newRowDrafter(t, caller, clock.Micros(s.clock), s.ids, mode, cond), nil
}

// rowFormat reads a body's content type: sequence means that an array is no row list. What is no known type of rows
// is taken for JSON, whose first byte tells: curl says form data unless told otherwise.
func rowFormat(contentType string) (sequence bool, err error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = strings.ToLower(strings.TrimSpace(contentType))
	}
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines":
		return true, nil
	case "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file", "application/vnd.apache.parquet",
		"multipart/form-data", "application/xml", "text/xml":
		return false, problem.New(problem.Unsupported, "rows do not come as %s", media).
			WithHint("send a JSON array, NDJSON or one JSON object")
	}
	return false, nil
}

// rememberedSince says from when on a repeated key is sure to be recognized.
func (s *Server) rememberedSince() string {
	since := s.materializer.Remembered().Since(clock.Micros(s.clock), s.writer.Memory().Age)
	return time.UnixMicro(since).UTC().Format(time.RFC3339Nano)
}

func idempotencyKey(h http.Header) (string, error) {
	key := h.Get("Idempotency-Key")
	if len(key) > maxIdempotencyKey || !printable(strings.ReplaceAll(key, " ", "_")) {
		return "", problem.New(problem.BadRequest, "Idempotency-Key is 1 to %d printable ASCII characters", maxIdempotencyKey)
	}
	return key, nil
}
