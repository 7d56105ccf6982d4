package api

import (
	"net/http"
	"strconv"
	"strings"

	"kalamlog.dev/kalam/internal/problem"
	"kalamlog.dev/kalam/materializer"
)

// versionMember is the member of a row that is its precondition rather than a column: no column's name begins with an underscore.
const versionMember = "_version"

// precondition is what must hold of one row before it is written: what If-Match and If-None-Match ask of a body's only
// row, and _version of each of several.
type precondition struct {
	version int64 // of the row, or materializer.AnyVersion
	exists  bool  // If-Match: *, "_version": "*"
	absent  bool  // If-None-Match: *, "_version": null
}

// anyRow is the precondition that always holds.
func anyRow() precondition { return precondition{version: materializer.AnyVersion} }

func (p precondition) given() bool { return p.version >= 0 || p.exists || p.absent }

// parsePrecondition reads the headers of a request.
func parsePrecondition(h http.Header, mode rowMode) (precondition, error) {
	p := anyRow()
	match, noneMatch := strings.TrimSpace(h.Get("If-Match")), strings.TrimSpace(h.Get("If-None-Match"))
	switch {
	case match != "" && noneMatch != "":
		return p, problem.New(problem.BadRequest, "If-Match and If-None-Match exclude each other")
	case noneMatch == "*":
		p.absent = true
	case noneMatch != "":
		return p, problem.New(problem.BadRequest, "If-None-Match of a write is *").WithHint("it says that the key must not exist")
	case match != "" && !p.match(match):
		return p, problem.New(problem.BadRequest, "If-Match is a row's version or *").
			WithHint("the ETag of a point read is the version that If-Match expects")
	}
	return p, p.check(mode)
}

// parseVersionMember reads the value of a row's _version.
func parseVersionMember(raw []byte, mode rowMode) (precondition, error) {
	p := anyRow()
	if string(raw) == "null" {
		p.absent = true
	} else if !p.match(string(raw)) {
		return p, problem.New(problem.InvalidValue, "%s is a row's version, \"*\" or null, not %s", versionMember, shortened(raw)).
			WithHint("a version says what the row must be at, \"*\" that it must exist, null that it must not")
	}
	return p, p.check(mode)
}

// match reads a version, quoted or not, or *, and reports whether it is one.
func (p *precondition) match(s string) bool {
	s = strings.Trim(s, `"`)
	if s == "*" {
		p.exists = true
		return true
	}
	v, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return false
	}
	p.version = int64(v)
	return true
}

// check refuses a precondition under which the mode could never write anything.
func (p precondition) check(mode rowMode) error {
	if (p.version >= 0 || p.exists) && mode == modeInsert {
		return problem.New(problem.BadRequest, "a version asks for a row that exists, mode insert for one that does not").
			WithHint("use mode=upsert or mode=patch")
	}
	if p.absent && (mode == modePatch || mode == modeDelete) {
		return problem.New(problem.BadRequest, "the row is asked not to exist, mode %s is for one that does", mode)
	}
	return nil
}
