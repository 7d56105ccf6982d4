package objstore

import "io"

// Store keeps objects. Implementations are safe for concurrent use.
type Store interface {
	// Create starts an object. Nothing under path changes before its Commit.
	Create(path string) (Object, error)
	// Open reads an object. The error wraps fs.ErrNotExist if there is none.
	Open(path string) (Reader, error)
	// List returns the paths below the folder prefix ("" for all), sorted, left-overs of objects that were never
	// committed included.
	List(prefix string) ([]string, error)
	// Delete removes an object or left-over. It is no error if there is none.
	Delete(path string) error
}

// Object is an object being written, by one goroutine.
type Object interface {
	io.Writer
	// Commit makes the object visible under its path; it survives a power loss once Commit has returned nil. After an
	// error it may or may not exist.
	Commit() error
	// Abort gives up the object and removes what was written. It does nothing after Commit.
	Abort() error
}

// Reader reads an object. ReadAt is safe for concurrent use.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
