package peer

import (
	"fmt"
	"maps"
	"sync"
)

// Book holds the addresses of targets. Safe for concurrent use.
type Book struct {
	mu        sync.RWMutex
	addresses map[string]string
}

// NewBook returns an empty Book.
func NewBook() *Book { return &Book{addresses: make(map[string]string)} }

// Set notes that target listens at address, host:port. An empty address removes it.
func (b *Book) Set(target, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if address == "" {
		delete(b.addresses, target)
		return
	}
	b.addresses[target] = address
}

// Address returns where target listens.
func (b *Book) Address(target string) (string, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if a := b.addresses[target]; a != "" {
		return a, nil
	}
	return "", fmt.Errorf("peer: no address of %s is known", target)
}

// All returns a copy of the book, addresses by target.
func (b *Book) All() map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.addresses)
}
