package api

import (
	"net/http"
	"strconv"
	"time"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/query"
	"kalamlog.dev/kalam/query/expr"
)

// jsonSink writes {"results":[{"columns":[...],"rows":[[...]],"row_count":n,"position":"..."}],"took_ms":x,...}.
type jsonSink struct {
	out       *resultWriter
	clock     clock.Clock
	began     time.Time
	results   int  // begun
	open      bool // the last one is not ended
	mark      int  // where the open result began in out, if nothing was sent since
	rows      int64
	planCache string
}

func newJSONSink(out *resultWriter, c clock.Clock) *jsonSink {
	out.buf = append(out.buf, `{"results":[`...)
	return &jsonSink{out: out, clock: c, began: c.Now()}
}

// Begin implements query.Sink.
func (j *jsonSink) Begin(columns []query.Column) error {
	buf := j.out.buf
	j.mark, j.rows, j.open = len(buf), 0, true
	if j.results++; j.results > 1 {
		buf = append(buf, ',')
	}
	buf = append(buf, `{"columns":[`...)
	for i, c := range columns {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, `{"name":`...)
		buf = appendString(buf, c.Name)
		buf = append(buf, `,"type":`...)
		buf = appendString(buf, c.Type)
		buf = append(buf, '}')
	}
	j.out.buf = append(buf, `],"rows":[`...)
	return nil
}

// Row implements query.Sink.
func (j *jsonSink) Row(values []expr.Value) error {
	buf := j.out.buf
	if j.rows++; j.rows > 1 {
		buf = append(buf, ',')
	}
	buf = append(buf, '[')
	for i, v := range values {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = expr.AppendJSON(buf, v)
	}
	j.out.buf = append(buf, ']')
	return j.out.spill()
}

// End implements query.Sink.
func (j *jsonSink) End(s query.Summary) error {
	j.open = false
	j.planCache = s.PlanCache
	buf := append(j.out.buf, `],"row_count":`...)
	buf = strconv.AppendInt(buf, s.RowCount, 10)
	buf = append(buf, `,"position":`...)
	buf = appendString(buf, s.Position.String())
	if s.Batches > 1 {
		buf = strconv.AppendInt(append(buf, `,"batches":`...), int64(s.Batches), 10)
	}
	j.out.buf = append(buf, '}')
	return j.out.spill()
}

func (j *jsonSink) finish() error {
	j.close("")
	j.out.end(http.StatusOK)
	return nil
}

// close ends the reply; member is one more of its members, with the comma before it.
func (j *jsonSink) close(member string) {
	buf := append(j.out.buf, ']')
	buf = append(buf, member...)
	buf = append(buf, `,"took_ms":`...)
	took := j.clock.Now().Sub(j.began)
	buf = strconv.AppendFloat(buf, float64(took.Microseconds())/1000, 'f', 3, 64)
	if j.planCache != "" {
		buf = append(buf, `,"plan_cache":`...)
		buf = appendString(buf, j.planCache)
	}
	j.out.buf = append(buf, "}\n"...)
}

// fail answers with the error alone if no statement was done. Otherwise the statements done come with it, since they
// stay done; a result that was being sent is closed as incomplete, so that the reply remains JSON.
func (j *jsonSink) fail(err error) error {
	if !j.out.started && (j.results == 0 || j.results == 1 && j.open) {
		return err
	}
	w, status := j.out.server.describe(j.out.c.Request(), err)
	switch {
	case j.open && !j.out.started:
		j.out.buf = j.out.buf[:j.mark]
	case j.open:
		j.out.buf = append(j.out.buf, `],"row_count":`...)
		j.out.buf = strconv.AppendInt(j.out.buf, j.rows, 10)
		j.out.buf = append(j.out.buf, `,"position":"","incomplete":true}`...)
	}
	j.close(`,"error":` + string(encode(w)))
	j.out.end(status)
	return nil
}
