package log

import "fmt"

// CorruptionError reports bytes on disk that are not what was written. Nothing behind them is served as if it did not exist.
type CorruptionError struct {
	Path     string // the file or directory
	Position int64  // the byte in it where reading failed
	Err      error
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %v", e.Path, e.Position, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }
