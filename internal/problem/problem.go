// Package problem is the one shape of an error that a user sees. Every package that can refuse a request
// returns a *problem.Error (wrapped or not); api turns its code into an HTTP status, an SQLSTATE and a Kafka
// error code. Errors that are not problems are faults of the server and are shown as code "internal".
package problem

import (
	"errors"
	"fmt"
)

// Code is the stable name of a kind of error, part of the public interface.
type Code string

// The codes. api/errors.go maps each to an HTTP status and an SQLSTATE.
const (
	BadRequest          Code = "bad_request"          // a malformed header, parameter or body
	BadJSON             Code = "bad_json"             // a body that is not JSON where JSON was due
	BodyTooLarge        Code = "body_too_large"       // a body or row over its limit
	SyntaxError         Code = "syntax_error"         // SQL that does not parse; Position is set
	UnknownNamespace    Code = "unknown_namespace"    // no such schema
	UnknownTable        Code = "unknown_table"        // no such table
	UnknownColumn       Code = "unknown_column"       // no such column
	UnknownFunction     Code = "unknown_function"     // no such function or operator
	DuplicateNamespace  Code = "duplicate_namespace"  // CREATE SCHEMA of one that exists
	DuplicateTable      Code = "duplicate_table"      // CREATE TABLE of one that exists
	DuplicateColumn     Code = "duplicate_column"     // the same column twice
	DuplicateKey        Code = "duplicate_key"        // INSERT of a key that exists
	KeyNotFound         Code = "key_not_found"        // a point read, patch or delete of a key that does not exist
	VersionConflict     Code = "version_conflict"     // a precondition (If-Match) that does not hold
	NotNull             Code = "not_null_violation"   // NULL in a NOT NULL column
	TypeMismatch        Code = "type_mismatch"        // a value or expression of the wrong type
	InvalidValue        Code = "invalid_value"        // text that is no value of the type: '2026-13-01'
	OutOfRange          Code = "out_of_range"         // a number that does not fit its type
	DivisionByZero      Code = "division_by_zero"     // in expressions where the engine raises it
	InvalidDefinition   Code = "invalid_definition"   // CREATE TABLE that makes no sense
	Unsupported         Code = "unsupported"          // understood, and refused for the reason in Message
	Forbidden           Code = "forbidden"            // the caller may not
	IdempotencyMismatch Code = "idempotency_mismatch" // the same idempotency key with another request
	PositionInvalid     Code = "invalid_position"     // a position token that does not parse or lies in the future
	Trimmed             Code = "trimmed"              // a position older than what is kept
	UnknownJob          Code = "unknown_job"          // KILL JOB of none that runs
	UnknownLiveQuery    Code = "unknown_live_query"   // KILL LIVE QUERY of none that is stored
	NotFound            Code = "not_found"            // no such path
	MethodNotAllowed    Code = "method_not_allowed"   // the path exists, for other methods
	NotAtomic           Code = "not_atomic"           // too much for one entry of the log, so it cannot be all or nothing
	DiskFull            Code = "disk_full"            // too little free space; nothing was written, reads go on
	Timeout             Code = "timeout"              // took longer than allowed; the outcome of a write is unknown
	Cancelled           Code = "cancelled"            // the caller went away or cancelled
	Overloaded          Code = "overloaded"           // too much in flight; retry later
	ShuttingDown        Code = "shutting_down"        // the server drains; retry elsewhere
	Internal            Code = "internal"             // a fault of the server
)

// Error is a refusal that a user can act upon. It is immutable once returned.
type Error struct {
	Code      Code
	Message   string // one sentence, no trailing full stop
	Hint      string // what to do about it, may be empty
	Position  int    // 1-based character in the statement, 0 if none
	Statement int    // 1-based statement of the batch, 0 if none
	Kept      *int64 // rows kept of a stream that broke off, nil if none were streamed
	Conflict  *Conflict
	Err       error // the cause, for the server's own log; never shown to the user
}

// Conflict is the row that a refused write (DuplicateKey, KeyNotFound, VersionConflict) met.
type Conflict struct {
	Key     string // JSON object of its key columns, "" if it is too long to tell
	Row     int64  // 1-based place among the rows of the request, 0 if it has none
	Version int64  // its current version, NoVersion if there is no such row
}

// NoVersion is the version of a row that does not exist.
const NoVersion = -1

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func (e *Error) Unwrap() error { return e.Err }

// New returns an Error with a formatted message.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy with a formatted hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// At returns a copy with the 1-based character position in the statement.
func (e *Error) At(position int) *Error {
	c := *e
	c.Position = position
	return &c
}

// Meeting returns a copy that tells which row the write met.
func (e *Error) Meeting(c Conflict) *Error {
	p := *e
	p.Conflict = &c
	return &p
}

// Because returns a copy that wraps cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Err = cause
	return &c
}

// As returns the problem in err's chain, or nil.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	p, _ := errors.AsType[*Error](err)
	return p
}

// Is reports whether err carries a problem with the code.
func Is(err error, code Code) bool {
	p := As(err)
	return p != nil && p.Code == code
}
