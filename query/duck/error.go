package duck

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Error is what DuckDB said of a statement.
type Error struct {
	Type       string // "Parser", "Binder", "Catalog", "Conversion", "Out of Range", ...
	Subtype    string // "COLUMN_NOT_FOUND", "MISSING_ENTRY", "NO_MATCHING_FUNCTION", ...
	Message    string
	Name       string // of what was not found
	Entry      string // kind of what was not found: "Table", "Scalar Function", ...
	Candidates string
	Position   int // 0-based byte in the statement's text, -1 if unknown
}

func (e *Error) Error() string { return "duckdb: " + e.Type + ": " + e.Message }

// parseError reads the text that DuckDB gives with errors_as_json: a JSON object, for some errors after "Kind Error: ".
func parseError(text string) *Error {
	e := &Error{Position: -1}
	raw := text
	if at := strings.Index(text, "{"); at >= 0 {
		raw = text[at:]
	}
	var body map[string]string
	if json.Unmarshal([]byte(raw), &body) != nil {
		kind, rest, ok := strings.Cut(text, " Error: ")
		if !ok {
			e.Type, e.Message = "Unknown", text
			return e
		}
		e.Type, e.Message = kind, rest
		return e
	}
	e.Type, e.Subtype, e.Message = body["exception_type"], body["error_subtype"], body["exception_message"]
	e.Name, e.Entry, e.Candidates = body["name"], body["type"], body["candidates"]
	if at, err := strconv.Atoi(body["position"]); err == nil {
		e.Position = at
	}
	return e
}
