package api

import (
	"net/http"
	"strings"

	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/query/expr"
)

// csvSink writes RFC 4180 with a header line; NULL is empty, an empty text is "". The format has no place for an
// error: a reply that fails midway is broken off, which the client sees as a truncated body.
type csvSink struct {
	out    *resultWriter
	single single
}

// Begin implements query.Sink.
func (s *csvSink) Begin(columns []query.Column) error {
	if len(columns) == 0 {
		return nil
	}
	for i, c := range columns {
		s.field(i, c.Name)
	}
	s.out.buf = append(s.out.buf, "\r\n"...)
	return s.single.next()
}

// Row implements query.Sink.
func (s *csvSink) Row(values []expr.Value) error {
	for i, v := range values {
		if v.IsNull() {
			s.separate(i)
			continue
		}
		s.field(i, csvText(v))
	}
	s.out.buf = append(s.out.buf, "\r\n"...)
	return s.out.spill()
}

// csvText is v's text: that of JSON for blobs, lists and times, so that both formats agree.
func csvText(v expr.Value) string {
	switch v.Kind() {
	case expr.Text, expr.JSON:
		return v.Str()
	case expr.List:
		return string(expr.AppendJSON(nil, v))
	default:
		return strings.Trim(string(expr.AppendJSON(nil, v)), `"`)
	}
}

func (s *csvSink) separate(i int) {
	if i > 0 {
		s.out.buf = append(s.out.buf, ',')
	}
}

func (s *csvSink) field(i int, text string) {
	s.separate(i)
	if text != "" && !strings.ContainsAny(text, "\",\r\n") {
		s.out.buf = append(s.out.buf, text...)
		return
	}
	s.out.buf = append(s.out.buf, '"')
	s.out.buf = append(s.out.buf, strings.ReplaceAll(text, `"`, `""`)...)
	s.out.buf = append(s.out.buf, '"')
}

// End implements query.Sink.
func (s *csvSink) End(sum query.Summary) error {
	s.out.position(sum.Position.String())
	return nil
}

func (s *csvSink) finish() error {
	s.out.end(http.StatusOK)
	return nil
}

func (s *csvSink) fail(err error) error {
	if s.out.started {
		s.out.server.describe(s.out.c.Request(), err)
		panic(http.ErrAbortHandler)
	}
	return err
}
