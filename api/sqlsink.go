package api

import (
	"mime"
	"strings"

	"github.com/labstack/echo/v4"

	"kalamlog.dev/kalam/internal/clock"
	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/query"
)

// The media types of results.
const (
	mediaNDJSON = "application/x-ndjson"
	mediaCSV    = "text/csv; charset=utf-8"
)

// sink takes the results of a batch in one format of reply.
type sink interface {
	query.Sink
	finish() error        // the batch is done
	fail(err error) error // it failed; the error returned is answered by itself
}

// newSink picks the format that the Accept header names first among those that are known.
func newSink(out *resultWriter, accept string, c clock.Clock) (sink, error) {
	unknown := ""
	for media := range strings.SplitSeq(accept, ",") {
		name, _, err := mime.ParseMediaType(media)
		if err != nil {
			continue
		}
		switch name {
		case mediaNDJSON, "application/ndjson", "application/jsonl":
			out.media = mediaNDJSON
			return &ndjsonSink{out: out}, nil
		case "text/csv":
			out.media = mediaCSV
			return &csvSink{out: out}, nil
		case echo.MIMEApplicationJSON, "*/*", "application/*", "text/html", "text/plain":
			unknown = ""
		default:
			unknown = name
			continue
		}
		break
	}
	if unknown != "" {
		return nil, problem.New(problem.Unsupported, "results do not come as %s", unknown).
			WithHint("accept application/json, application/x-ndjson or text/csv")
	}
	out.media = echo.MIMEApplicationJSON
	return newJSONSink(out, c), nil
}

// single lets one result through: these formats cannot tell where the next one begins.
type single struct{ results int }

func (s *single) next() error {
	if s.results++; s.results > 1 {
		return problem.New(problem.BadRequest, "this format holds the result of one statement").
			WithHint("accept application/json, or send one statement that returns rows")
	}
	return nil
}
