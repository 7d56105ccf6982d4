// Package storagetest is the conformance suite of storage.Backend: every backend's tests run it.
package storagetest
